/* What a disk owes after a power cut: a preload shim that writes down how to undo everything not yet fsynced.
 *
 * Under the folder POWER_DISK every change is let through, but first its undo goes into a file of this process in the
 * folder POWER_UNDO: the bytes it overwrites or cuts off, the length the file had, the name it makes, moves or removes.
 * fsync and fdatasync write down when they began, once they have succeeded. Whoever then kills the processes and undoes
 * what no sync covers (disk.py) has the disk as it could be after a power cut.
 *
 * The model is strict: bytes are on disk once their file was synced; a name (made, moved, removed) once its folder was.
 * Times are CLOCK_MONOTONIC, the same for all processes, so records of several processes have one order. One lock keeps
 * a record and its change together, so no sync of this process comes between them. Two processes that write one file
 * at the same time are not covered. Files written through stdio (fopen "w") count as lost from their beginning until
 * they are synced; those it appends to (a log) and what is written through mmap are not looked at.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define MAX_FDS 65536

struct record { /* as disk.py reads it */
    uint32_t magic;
    uint32_t kind; /* 'B'ytes, 'S'ynced, 'C'reated, 'R'enamed, 'U'nlinked, 'M'ade a folder */
    uint64_t at_ns;
    uint64_t inode; /* of the file (B, S) or of the folder that holds the name (the others, and S) */
    uint64_t offset; /* where the payload belongs; how many bytes the change had (B): see 'length' */
    uint64_t length; /* bytes the change wrote, 0 where it cut off */
    uint64_t old_size;
    uint64_t payload; /* bytes that follow: what was there before (B), or paths, each ended by NUL */
};

static unsigned char watched[MAX_FDS]; /* 0 no, 1 yes, 2 yes and it appends */
static char disk[PATH_MAX], undo[PATH_MAX - 128];
static size_t disk_length;
static int journal = -1;
static pid_t journal_pid;
static unsigned saved;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

#define REAL(name) ((__typeof__(&name))real(#name))
static void *real(const char *name) {
    void *found = dlsym(RTLD_NEXT, name);
    if (!found) abort();
    return found;
}

static void hold(void) { pthread_mutex_lock(&lock); }
static void let_go(void) { pthread_mutex_unlock(&lock); }

static void die(const char *what) {
    dprintf(2, "power shim: %s: %s\n", what, strerror(errno));
    abort();
}

__attribute__((constructor)) static void begin(void) {
    const char *here = getenv("POWER_DISK"), *there = getenv("POWER_UNDO");
    char resolved[PATH_MAX];
    if (!here || !there || !realpath(here, disk) || !realpath(there, resolved)) return;
    if (strlen(resolved) >= sizeof undo) die("POWER_UNDO is too long");
    strcpy(undo, resolved);
    disk_length = strlen(disk);
    pthread_atfork(hold, let_go, let_go);
}

static uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void note(uint32_t kind, uint64_t at_ns, uint64_t inode, uint64_t offset, uint64_t length, uint64_t old_size,
                 const void *payload, size_t size) {
    if (journal < 0 || journal_pid != getpid()) { /* the first one, or the first one after a fork */
        char path[PATH_MAX + 32];
        snprintf(path, sizeof path, "%s/%d-%llu.undo", undo, getpid(), (unsigned long long)now_ns());
        journal = REAL(open)(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        if (journal < 0) die(path);
        int high = fcntl(journal, F_DUPFD_CLOEXEC, 512); /* out of the way of those who count descriptors */
        if (high >= 0) {
            REAL(close)(journal);
            journal = high;
        }
        journal_pid = getpid();
    }
    struct record head = {0x4f444e55, kind, at_ns, inode, offset, length, old_size, size};
    struct iovec parts[2] = {{&head, sizeof head}, {(void *)payload, size}};
    if (REAL(writev)(journal, parts, 2) != (ssize_t)(sizeof head + size)) die("cannot write the undo");
}

static int inside(const char *path) {
    return disk_length && !strncmp(path, disk, disk_length) && (path[disk_length] == '/' || !path[disk_length]);
}

static int path_of(int fd, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return inside(path);
}

/* The absolute path of a name whose folder exists; whether it is on the disk. */
static int absolute(const char *path, char *found) {
    char folder[PATH_MAX], name[PATH_MAX], resolved[PATH_MAX];
    if (!disk_length || strlen(path) >= PATH_MAX) return 0;
    strcpy(folder, path);
    strcpy(name, path);
    if (!realpath(dirname(folder), resolved)) return 0;
    return snprintf(found, PATH_MAX, "%s/%s", resolved, basename(name)) < PATH_MAX && inside(found);
}

static uint64_t inode_of_folder(const char *path) {
    char folder[PATH_MAX];
    struct stat about;
    strcpy(folder, path);
    return stat(dirname(folder), &about) ? 0 : about.st_ino;
}

/* A second name in POWER_UNDO for a file that is about to lose its name: its bytes and inode stay. */
static int keep(const char *path, char *kept) {
    snprintf(kept, PATH_MAX, "%s/%d-%u-%llu.kept", undo, getpid(), saved++, (unsigned long long)now_ns());
    if (!REAL(link)(path, kept)) return 1;
    if (errno == ENOENT) return 0;
    die(path);
    return 0;
}

/* Bytes [offset, old size) that a change of [offset, offset + length) takes away; cut: it takes all of them. */
static void note_bytes(int fd, uint64_t offset, uint64_t length, int cut) {
    struct stat about;
    if (fstat(fd, &about) || !S_ISREG(about.st_mode)) return;
    uint64_t size = (uint64_t)about.st_size, end = cut || offset + length > size ? size : offset + length;
    size_t old = offset < end ? end - offset : 0;
    char *bytes = old ? malloc(old) : NULL;
    if (old) {
        char path[64]; /* the descriptor may be for writing only */
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        int reader = REAL(open)(path, O_RDONLY | O_CLOEXEC);
        if (reader < 0 || !bytes || pread(reader, bytes, old, (off_t)offset) != (ssize_t)old) die("cannot read before");
        REAL(close)(reader);
    }
    note('B', now_ns(), about.st_ino, offset, cut ? 0 : length, size, bytes, old);
    free(bytes);
}

static void note_name(uint32_t kind, const char *path) {
    note(kind, now_ns(), inode_of_folder(path), 0, 0, 0, path, strlen(path) + 1);
}

static int opened(int (*go)(int, const char *, int, ...), int folder, const char *path, int flags, mode_t mode) {
    if (!disk_length) return go(folder, path, flags, mode);
    char where[PATH_MAX];
    int error;
    hold();
    int there = !(flags & O_CREAT) || !faccessat(folder, path, F_OK, AT_SYMLINK_NOFOLLOW);
    if (there && flags & O_TRUNC) {
        int before = go(folder, path, O_RDONLY | O_CLOEXEC);
        if (before >= 0) {
            if (path_of(before, where)) note_bytes(before, 0, 0, 1);
            REAL(close)(before);
        }
    }
    int fd = go(folder, path, flags, mode);
    error = errno;
    if (fd >= 0 && fd < MAX_FDS) {
        watched[fd] = path_of(fd, where) ? (flags & O_APPEND ? 2 : 1) : 0;
        if (watched[fd] && !there) note_name('C', where);
    }
    let_go();
    errno = error;
    return fd;
}

#define OPEN(name, at)                                              \
    int name(const char *path, int flags, ...) {                    \
        va_list rest;                                               \
        va_start(rest, flags);                                      \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0; \
        va_end(rest);                                               \
        return opened(REAL(at), AT_FDCWD, path, flags, mode);       \
    }
OPEN(open, openat)
OPEN(open64, openat64)
#define OPENAT(name)                                                \
    int name(int folder, const char *path, int flags, ...) {        \
        va_list rest;                                               \
        va_start(rest, flags);                                      \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0; \
        va_end(rest);                                               \
        return opened(REAL(name), folder, path, flags, mode);       \
    }
OPENAT(openat)
OPENAT(openat64)

#define FOPEN(name)                                                 \
    FILE *name(const char *path, const char *how) {                 \
        if (!disk_length || how[0] != 'w') return REAL(name)(path, how); \
        int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0666);    \
        if (fd < 0) return NULL;                                    \
        hold();                                                     \
        if (fd < MAX_FDS && watched[fd]) note_bytes(fd, 0, SSIZE_MAX, 0); /* whatever stdio will write */ \
        let_go();                                                   \
        return fdopen(fd, how);                                     \
    }
FOPEN(fopen)
FOPEN(fopen64)

int close(int fd) {
    if (fd >= 0 && fd < MAX_FDS) watched[fd] = 0;
    return REAL(close)(fd);
}

#define WATCHED(fd) (disk_length && (fd) >= 0 && (fd) < MAX_FDS && watched[fd])

static uint64_t place(int fd) {
    struct stat about;
    if (watched[fd] == 2 && !fstat(fd, &about)) return (uint64_t)about.st_size;
    return (uint64_t)lseek(fd, 0, SEEK_CUR);
}

/* A change of a watched file: its undo first, then the change, with nothing in between. */
#define CHANGE(type, call, undoing)  \
    hold();                          \
    undoing;                         \
    type done = call;                \
    int error = errno;               \
    let_go();                        \
    errno = error;                   \
    return done

ssize_t write(int fd, const void *bytes, size_t length) {
    if (!WATCHED(fd)) return REAL(write)(fd, bytes, length);
    CHANGE(ssize_t, REAL(write)(fd, bytes, length), note_bytes(fd, place(fd), length, 0));
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    if (!WATCHED(fd)) return REAL(writev)(fd, parts, count);
    size_t length = 0;
    for (int i = 0; i < count; i++) length += parts[i].iov_len;
    CHANGE(ssize_t, REAL(writev)(fd, parts, count), note_bytes(fd, place(fd), length, 0));
}

#define PWRITE(name, type)                                                   \
    ssize_t name(int fd, const void *bytes, size_t length, type offset) {    \
        if (!WATCHED(fd)) return REAL(name)(fd, bytes, length, offset);      \
        CHANGE(ssize_t, REAL(name)(fd, bytes, length, offset), note_bytes(fd, (uint64_t)offset, length, 0)); \
    }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

#define FTRUNCATE(name, type)                                                \
    int name(int fd, type length) {                                          \
        if (!WATCHED(fd)) return REAL(name)(fd, length);                     \
        CHANGE(int, REAL(name)(fd, length), note_bytes(fd, (uint64_t)length, 0, 1)); \
    }
FTRUNCATE(ftruncate, off_t)
FTRUNCATE(ftruncate64, off64_t)

#define SYNC(name)                                                           \
    int name(int fd) {                                                       \
        if (!WATCHED(fd)) return REAL(name)(fd);                             \
        struct stat about;                                                   \
        hold();                                                              \
        uint64_t began_ns = now_ns();                                        \
        let_go();                                                            \
        int done = REAL(name)(fd), error = errno;                            \
        if (!done && !fstat(fd, &about)) {                                   \
            hold();                                                          \
            note('S', began_ns, about.st_ino, 0, 0, 0, NULL, 0);             \
            let_go();                                                        \
        }                                                                    \
        errno = error;                                                       \
        return done;                                                         \
    }
SYNC(fsync)
SYNC(fdatasync)

int unlink(const char *path) {
    char where[PATH_MAX], both[2 * PATH_MAX], kept[PATH_MAX];
    if (!absolute(path, where)) return REAL(unlink)(path);
    hold();
    struct stat about;
    if (!lstat(where, &about) && S_ISREG(about.st_mode) && keep(where, kept)) { /* a socket needs no undo */
        size_t length = strlen(where) + 1;
        memcpy(both, where, length);
        strcpy(both + length, kept);
        note('U', now_ns(), inode_of_folder(where), 0, 0, 0, both, length + strlen(kept) + 1);
    }
    int done = REAL(unlink)(path), error = errno;
    let_go();
    errno = error;
    return done;
}

int rename(const char *from, const char *to) {
    char source[PATH_MAX], target[PATH_MAX], three[3 * PATH_MAX], kept[PATH_MAX] = "";
    if (!absolute(from, source) || !absolute(to, target)) return REAL(rename)(from, to);
    hold();
    keep(target, kept) || (kept[0] = 0);
    int length = sprintf(three, "%s%c%s%c%s", source, 0, target, 0, kept) + 1;
    note('R', now_ns(), inode_of_folder(target), 0, 0, 0, three, (size_t)length);
    int done = REAL(rename)(from, to), error = errno;
    let_go();
    errno = error;
    return done;
}

int link(const char *from, const char *to) {
    char where[PATH_MAX];
    hold();
    int done = REAL(link)(from, to), error = errno;
    if (!done && absolute(to, where)) note_name('C', where);
    let_go();
    errno = error;
    return done;
}

int mkdir(const char *path, mode_t mode) {
    char where[PATH_MAX];
    hold();
    int done = REAL(mkdir)(path, mode), error = errno;
    if (!done && absolute(path, where)) note_name('M', where);
    let_go();
    errno = error;
    return done;
}
