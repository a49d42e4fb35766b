/* SPDX-License-Identifier: MIT
 *
 * A disk that is slow to confirm what it has, for a Redis in the tests (LD_PRELOAD): each fdatasync and fsync takes a second
 * longer.
 */
#define _GNU_SOURCE
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static void wait_for_the_disk(void)
{
    const struct timespec second = {.tv_sec = 1};
    nanosleep(&second, NULL);
}

int fdatasync(int fd)
{
    wait_for_the_disk();
    return (int)syscall(SYS_fdatasync, fd);
}

int fsync(int fd)
{
    wait_for_the_disk();
    return (int)syscall(SYS_fsync, fd);
}
