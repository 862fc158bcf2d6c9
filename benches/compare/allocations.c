/* Counts the allocations of a process, for `run --against`: a library for LD_PRELOAD.
 *
 * The counters are in the file that ALLOCATIONS_FILE names, as two 64-bit numbers: calls, and requested bytes. The file
 * is mapped: another process can read it at any time, and counting makes no system call that would count as well.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* The functions of glibc behind its own. Looking them up with dlsym would allocate, and so call the ones below. */
void *__libc_malloc(size_t);
void *__libc_calloc(size_t, size_t);
void *__libc_realloc(void *, size_t);
void *__libc_memalign(size_t, size_t);

struct counters {
    uint64_t calls, bytes;
};

/* Counts allocations before the file is mapped, and all of them if there is no file. */
static struct counters unpublished, *counters = &unpublished;

__attribute__((constructor)) static void publish(void) {
    const char *path = getenv("ALLOCATIONS_FILE");
    int file = path ? open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644) : -1;
    if (file < 0)
        return;
    if (ftruncate(file, sizeof *counters) == 0) {
        void *mapped = mmap(NULL, sizeof *counters, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
        if (mapped != MAP_FAILED)
            counters = mapped;
    }
    close(file);
}

static void count(size_t bytes) {
    __atomic_fetch_add(&counters->calls, 1, __ATOMIC_RELAXED);
    __atomic_fetch_add(&counters->bytes, bytes, __ATOMIC_RELAXED);
}

void *malloc(size_t bytes) {
    count(bytes);
    return __libc_malloc(bytes);
}

void *calloc(size_t number, size_t bytes) {
    count(number * bytes);
    return __libc_calloc(number, bytes);
}

void *realloc(void *old, size_t bytes) {
    count(bytes);
    return __libc_realloc(old, bytes);
}

void *memalign(size_t alignment, size_t bytes) {
    count(bytes);
    return __libc_memalign(alignment, bytes);
}

void *aligned_alloc(size_t alignment, size_t bytes) {
    return memalign(alignment, bytes);
}

int posix_memalign(void **result, size_t alignment, size_t bytes) {
    if (alignment % sizeof(void *) || alignment == 0 || (alignment & (alignment - 1)))
        return EINVAL;
    void *allocated = memalign(alignment, bytes);
    if (!allocated)
        return ENOMEM;
    *result = allocated;
    return 0;
}
