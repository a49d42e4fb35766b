/* SPDX-License-Identifier: MIT
 *
 * What page/embed.py generates.
 */
#ifndef BURBLE_SERVE_PAGE_ASSETS_H
#define BURBLE_SERVE_PAGE_ASSETS_H

#include "serve/page.h"

extern const struct burble__asset burble__assets[];
extern const size_t burble__n_assets;

#endif
