/* A disk between a process and its files: it keeps a log of what reaches them, refuses, stalls.
 *
 * Preloaded into a process (LD_PRELOAD), it stands in front of the calls by which LMDB and Python
 * write: write, writev, pwrite, pwritev, fsync, fdatasync, ftruncate. Only files below the folder
 * in FAULTY_DISK_FOLDER are its business. What it does stands in a file that is mapped by this
 * process and by the test (FAULTY_DISK_RULES), so faults begin and end while the process runs.
 * With FAULTY_DISK_LOG set, every call is appended to that file once it has returned.
 * tests/faults/disk.py is its only user, and says in words what the numbers here mean.
 */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum kind { WRITE, META, SYNC, TRUNCATE, KINDS };

struct rule {
    int64_t error;    /* 0 for none */
    int64_t short_by; /* write so many bytes less than asked instead of failing */
    int64_t after;    /* calls that still go well */
    int64_t times;    /* calls that fail then; 0 for all */
    int64_t delay_us; /* before each call; looked at again all the while */
    int64_t held;     /* calls that are to fail wait until this is 0 */
    int64_t calls;    /* since the rule was made; counted here */
    int64_t struck;   /* of them, counted here too */
    char where[40];   /* part of the file's name; empty for all */
};

struct record {
    int64_t start_ns, end_ns, offset, result;
    uint32_t kind, name_bytes;
    uint64_t data_bytes;
};

static struct rule *rules;
static char folder[PATH_MAX];
static size_t folder_bytes;
static int log_fd = -1;
static pthread_mutex_t one_record = PTHREAD_MUTEX_INITIALIZER;

static ssize_t (*next_write)(int, const void *, size_t);
static ssize_t (*next_writev)(int, const struct iovec *, int);
static ssize_t (*next_pwrite)(int, const void *, size_t, off_t);
static ssize_t (*next_pwritev)(int, const struct iovec *, int, off_t);
static int (*next_fsync)(int);
static int (*next_fdatasync)(int);
static int (*next_ftruncate)(int, off_t);

__attribute__((constructor)) static void begin(void) {
    next_write = dlsym(RTLD_NEXT, "write");
    next_writev = dlsym(RTLD_NEXT, "writev");
    next_pwrite = dlsym(RTLD_NEXT, "pwrite");
    next_pwritev = dlsym(RTLD_NEXT, "pwritev");
    next_fsync = dlsym(RTLD_NEXT, "fsync");
    next_fdatasync = dlsym(RTLD_NEXT, "fdatasync");
    next_ftruncate = dlsym(RTLD_NEXT, "ftruncate");
    const char *where = getenv("FAULTY_DISK_FOLDER"), *file = getenv("FAULTY_DISK_RULES");
    if (!where || !file || !realpath(where, folder))
        return;
    int fd = open(file, O_RDWR | O_CLOEXEC);
    void *map = mmap(NULL, KINDS * sizeof *rules, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (map == MAP_FAILED)
        abort();
    folder_bytes = strlen(folder);
    rules = map;
    if ((file = getenv("FAULTY_DISK_LOG")))
        log_fd = open(file, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
}

/* The file's name below the folder, or NULL where it is none of ours. */
static const char *name_of(int fd, char *held) {
    char link[40];
    if (!rules || fd == log_fd)
        return NULL;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t bytes = readlink(link, held, PATH_MAX - 1);
    if (bytes <= (ssize_t)folder_bytes)
        return NULL;
    held[bytes] = 0;
    if (memcmp(held, folder, folder_bytes) || held[folder_bytes] != '/')
        return NULL;
    return held + folder_bytes + 1;
}

static enum kind writing(int fd) {
    return fcntl(fd, F_GETFL) & O_DSYNC ? META : WRITE;
}

static int64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

/* Wait as long as the rule says, then tell whether the call is to go wrong. */
static int strikes(enum kind kind, const char *name) {
    struct rule *rule = &rules[kind];
    if (rule->where[0] && !strstr(name, rule->where))
        return 0;
    int64_t before = __atomic_fetch_add(&rule->calls, 1, __ATOMIC_SEQ_CST);
    int64_t begun = now_ns();
    while (now_ns() - begun < __atomic_load_n(&rule->delay_us, __ATOMIC_SEQ_CST) * 1000)
        nanosleep(&(struct timespec){0, 1000000}, NULL);
    if (!__atomic_load_n(&rule->error, __ATOMIC_SEQ_CST))
        return 0;
    if (before < rule->after || (rule->times && before >= rule->after + rule->times))
        return 0;
    __atomic_fetch_add(&rule->struck, 1, __ATOMIC_SEQ_CST);
    while (__atomic_load_n(&rule->held, __ATOMIC_SEQ_CST))
        nanosleep(&(struct timespec){0, 1000000}, NULL);
    return 1;
}

/* Append a call that has returned: calls that overlap stand in the order of their ends. */
static void note(enum kind kind, const char *name, int64_t start_ns, off_t offset, int64_t result,
                 const struct iovec *data, int count) {
    if (log_fd < 0)
        return;
    int kept = errno;
    struct record record = {start_ns, now_ns(), offset, result, kind, strlen(name), 0};
    struct iovec parts[IOV_MAX + 2];
    int used = 2;
    pthread_mutex_lock(&one_record);
    record.end_ns = now_ns();
    if (data && result > 0) {
        size_t left = record.data_bytes = result;
        for (int i = 0; i < count && left; i++) {
            parts[used] = data[i];
            if (parts[used].iov_len > left)
                parts[used].iov_len = left;
            left -= parts[used++].iov_len;
        }
    }
    parts[0] = (struct iovec){&record, sizeof record};
    parts[1] = (struct iovec){(void *)name, record.name_bytes};
    size_t whole = sizeof record + record.name_bytes + record.data_bytes;
    if (next_writev(log_fd, parts, used) != (ssize_t)whole)
        abort(); /* a log with a hole would prove anything */
    pthread_mutex_unlock(&one_record);
    errno = kept;
}

/* All writes come down to this one; offset -1 stands for the file's own position. */
static ssize_t written(int fd, const struct iovec *data, int count, off_t offset) {
    char held[PATH_MAX];
    const char *name = name_of(fd, held);
    if (!name)
        return offset < 0 ? next_writev(fd, data, count) : next_pwritev(fd, data, count, offset);
    enum kind kind = writing(fd);
    off_t at = offset < 0 ? lseek(fd, 0, SEEK_CUR) : offset;
    int64_t start_ns = now_ns();
    ssize_t result = -1;
    if (!strikes(kind, name))
        result = offset < 0 ? next_writev(fd, data, count) : next_pwritev(fd, data, count, offset);
    else if (rules[kind].short_by && (int64_t)data[0].iov_len > rules[kind].short_by) {
        struct iovec less = {data[0].iov_base, data[0].iov_len - rules[kind].short_by};
        result = offset < 0 ? next_writev(fd, &less, 1) : next_pwritev(fd, &less, 1, offset);
    } else
        errno = rules[kind].error;
    note(kind, name, start_ns, at, result, data, count);
    return result;
}

static int synced(int fd, int (*next)(int)) {
    char held[PATH_MAX];
    const char *name = name_of(fd, held);
    if (!name)
        return next(fd);
    int64_t start_ns = now_ns();
    int result = -1;
    if (strikes(SYNC, name))
        errno = rules[SYNC].error;
    else
        result = next(fd);
    note(SYNC, name, start_ns, 0, result, NULL, 0);
    return result;
}

ssize_t write(int fd, const void *data, size_t bytes) {
    if (!next_write) /* before our constructor */
        next_write = dlsym(RTLD_NEXT, "write");
    return rules ? written(fd, &(struct iovec){(void *)data, bytes}, 1, -1)
                 : next_write(fd, data, bytes);
}

ssize_t writev(int fd, const struct iovec *data, int count) {
    return written(fd, data, count, -1);
}

ssize_t pwrite(int fd, const void *data, size_t bytes, off_t offset) {
    return written(fd, &(struct iovec){(void *)data, bytes}, 1, offset);
}

ssize_t pwritev(int fd, const struct iovec *data, int count, off_t offset) {
    return written(fd, data, count, offset);
}

int fsync(int fd) {
    return synced(fd, next_fsync);
}

int fdatasync(int fd) {
    return synced(fd, next_fdatasync);
}

int ftruncate(int fd, off_t length) {
    char held[PATH_MAX];
    const char *name = name_of(fd, held);
    if (!name)
        return next_ftruncate(fd, length);
    int64_t start_ns = now_ns();
    int result = -1;
    if (strikes(TRUNCATE, name))
        errno = rules[TRUNCATE].error;
    else
        result = next_ftruncate(fd, length);
    note(TRUNCATE, name, start_ns, length, result, NULL, 0);
    return result;
}

/* off_t has 64 bits here, so these are the same calls under their other names. */
_Static_assert(sizeof(off_t) == 8, "a machine with 64-bit file offsets");
ssize_t pwrite64(int, const void *, size_t, off_t) __attribute__((alias("pwrite")));
ssize_t pwritev64(int, const struct iovec *, int, off_t) __attribute__((alias("pwritev")));
int ftruncate64(int, off_t) __attribute__((alias("ftruncate")));
