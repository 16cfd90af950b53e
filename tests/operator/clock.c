/* The wall clock, an hour behind as long as the file that CLOCK_JUMPED names is there. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *now)
{
    long failed = syscall(SYS_clock_gettime, clock, now);
    const char *jumped = getenv("CLOCK_JUMPED");
    if (!failed && clock == CLOCK_REALTIME && jumped && access(jumped, F_OK) == 0)
        now->tv_sec -= 3600;
    return (int)failed;
}
