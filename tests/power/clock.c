/* A wall clock that a test sets: a preload shim that adds the milliseconds in the file POWER_CLOCK (a signed 64-bit
 * number, read anew each time) to every reading of the wall clock. CLOCK_MONOTONIC is left alone, as in real life. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile int64_t *ahead_ms;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("POWER_CLOCK");
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0) return;
    void *found = mmap(NULL, sizeof *ahead_ms, PROT_READ, MAP_SHARED, fd, 0);
    if (found != MAP_FAILED) ahead_ms = found;
    close(fd);
}

static int64_t ahead(void) { return ahead_ms ? *ahead_ms : 0; }

static int read_clock(clockid_t clock, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = (__typeof__(real))dlsym(RTLD_NEXT, "clock_gettime");
    int failed = real(clock, now);
    if (failed || (clock != CLOCK_REALTIME && clock != CLOCK_REALTIME_COARSE)) return failed;
    int64_t ns = now->tv_nsec + ahead() % 1000 * 1000000;
    now->tv_sec += ahead() / 1000 + (ns >= 1000000000) - (ns < 0);
    now->tv_nsec = ns + (ns < 0 ? 1000000000 : ns >= 1000000000 ? -1000000000 : 0);
    return 0;
}

int clock_gettime(clockid_t clock, struct timespec *now) { return read_clock(clock, now); }

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec found;
    (void)zone;
    if (read_clock(CLOCK_REALTIME, &found)) return -1;
    now->tv_sec = found.tv_sec;
    now->tv_usec = found.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *at) {
    struct timespec found;
    if (read_clock(CLOCK_REALTIME, &found)) return -1;
    if (at) *at = found.tv_sec;
    return found.tv_sec;
}
