/* The time of day as a process sees it: the kernel's, and so many seconds that a file says, which may change any time.
   What counts durations, the monotonic clock, is untouched, as when an administrator sets the clock. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

#define NEAR 3600 /* seconds */

static const int64_t none = 0;
static const volatile int64_t *offset = &none;

__attribute__((constructor)) static void watch(void) {
    const char *path = getenv("FOOTFALL_TEST_CLOCK");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return;
    void *found = mmap(NULL, sizeof *offset, PROT_READ, MAP_SHARED, file, 0);
    if (found != MAP_FAILED) offset = found;
    close(file);
}

int clock_gettime(clockid_t clock, struct timespec *at) {
    int failed = (int)syscall(SYS_clock_gettime, clock, at);
    if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) at->tv_sec += *offset;
    return failed;
}

int gettimeofday(struct timeval *restrict at, void *restrict zone) {
    struct timespec now;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &now);
    at->tv_sec = now.tv_sec;
    at->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *at) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (at) *at = now.tv_sec;
    return now.tv_sec;
}

/* The kernel knows nothing of the offset: a deadline that was made with it is given to it without. */
static struct timespec without(const struct timespec *until) {
    struct timespec now, deadline = *until;
    clock_gettime(CLOCK_REALTIME, &now);
    if (llabs((long long)deadline.tv_sec - now.tv_sec) < NEAR) deadline.tv_sec -= *offset;
    return deadline;
}

int pthread_cond_timedwait(pthread_cond_t *restrict cond, pthread_mutex_t *restrict mutex,
                           const struct timespec *restrict until) {
    static int (*wait)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);
    if (!wait) {
        void *found = dlvsym(RTLD_NEXT, "pthread_cond_timedwait", "GLIBC_2.3.2");
        if (!found) found = dlsym(RTLD_NEXT, "pthread_cond_timedwait");
        *(void **)&wait = found;
    }
    struct timespec deadline = without(until);
    return wait(cond, mutex, &deadline);
}

/* Kafka's client waits by this one. */
int cnd_timedwait(cnd_t *restrict cond, mtx_t *restrict mutex, const struct timespec *restrict until) {
    static int (*wait)(cnd_t *, mtx_t *, const struct timespec *);
    if (!wait) *(void **)&wait = dlsym(RTLD_NEXT, "cnd_timedwait");
    struct timespec deadline = without(until);
    return wait(cond, mutex, &deadline);
}
