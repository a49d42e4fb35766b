/* SPDX-License-Identifier: MIT
 *
 * Linked with one source per public header and language (header.in), which prove that each header
 * compiles alone; says, too, that the headers and the library are of the same version.
 */
#include <burble/version.h>

#include <stdio.h>
#include <string.h>

int main(void)
{
    if (strcmp(burble_version(), BURBLE_VERSION) != 0) {
        fprintf(stderr, "expected version %s, found %s in the library\n", BURBLE_VERSION,
                burble_version());
        return 1;
    }
    return 0;
}
