/* SPDX-License-Identifier: MIT
 *
 * The command's main function, which is compiled under this name.
 */
#ifndef BURBLE_TESTS_BURBLE_MAIN_H
#define BURBLE_TESTS_BURBLE_MAIN_H

int burble_main(int argc, char **argv);

#endif
