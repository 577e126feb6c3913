/* A disk that fails at its N-th call: loaded before libc (LD_PRELOAD), it stands between a whole process - Python,
   and the C++ that writes Orbax's arrays - and the calls that change files under one folder.

   BAD_DISK_FOLDER  absolute path; only what is done below it counts
   BAD_DISK_CALL    the number of the call that fails, from 1; 0: none, they are only counted
   BAD_DISK_ERROR   an errno, or 0: SIGKILL
   BAD_DISK_LASTS   1: every later call fails too, but those that remove something, which work on a full disk

   Or, in a process that has loaded this already: bad_disk(folder, call, error, lasts). */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static char folder[4096];
static long failing, error, lasts;
static atomic_long count;

void bad_disk(const char *where, long call, long with, long forever) {
  snprintf(folder, sizeof folder, "%s", where);
  failing = call;
  error = with;
  lasts = forever;
  count = 0;
}

long bad_disk_calls(void) { return count; }

__attribute__((constructor)) static void read_environment(void) {
  if (getenv("BAD_DISK_FOLDER"))
    bad_disk(getenv("BAD_DISK_FOLDER"), atol(getenv("BAD_DISK_CALL")), atol(getenv("BAD_DISK_ERROR")),
             atol(getenv("BAD_DISK_LASTS")));
}

static int below_folder(const char *path) {
  return folder[0] && !strncmp(path, folder, strlen(folder));
}

static int path_counts(int directory, const char *path) {
  char link[64], whole[8192];
  if (!folder[0]) return 0;
  if (path[0] == '/') return below_folder(path);
  if (directory == AT_FDCWD) return getcwd(whole, sizeof whole) && below_folder(whole);
  snprintf(link, sizeof link, "/proc/self/fd/%d", directory);
  ssize_t length = readlink(link, whole, sizeof whole - 1);
  if (length < 0) return 0;
  whole[length] = 0;
  return below_folder(whole);
}

static int fd_counts(int fd) {
  return path_counts(fd, "");
}

/* Whether this call, which counts, must fail; then errno is set. */
static int fails(void) {
  long number = atomic_fetch_add(&count, 1) + 1;
  if (!failing || number < failing || (number > failing && !lasts)) return 0;
  if (!error) kill(getpid(), SIGKILL);
  errno = error;
  return 1;
}

#define ON_FD(type, name, parameters, arguments) \
  type name parameters { return fd_counts(fd) && fails() ? -1 : REAL(name) arguments; }
#define ON_PATH(type, name, parameters, arguments, directory, path) \
  type name parameters { return path_counts(directory, path) && fails() ? -1 : REAL(name) arguments; }

ON_FD(ssize_t, write, (int fd, const void *data, size_t size), (fd, data, size))
ON_FD(ssize_t, pwrite, (int fd, const void *data, size_t size, off_t at), (fd, data, size, at))
ON_FD(ssize_t, pwrite64, (int fd, const void *data, size_t size, off64_t at), (fd, data, size, at))
ON_FD(ssize_t, writev, (int fd, const struct iovec *parts, int n), (fd, parts, n))
ON_FD(ssize_t, sendfile, (int fd, int from, off_t *at, size_t size), (fd, from, at, size))
ON_FD(ssize_t, sendfile64, (int fd, int from, off64_t *at, size_t size), (fd, from, at, size))
ON_FD(int, fsync, (int fd), (fd))
ON_FD(int, fdatasync, (int fd), (fd))
ON_FD(int, ftruncate, (int fd, off_t size), (fd, size))
ON_FD(int, ftruncate64, (int fd, off64_t size), (fd, size))
ON_PATH(int, rename, (const char *from, const char *to), (from, to), AT_FDCWD, to)
ON_PATH(int, renameat, (int d, const char *from, int e, const char *to), (d, from, e, to), e, to)
ON_PATH(int, renameat2, (int d, const char *from, int e, const char *to, unsigned f), (d, from, e, to, f), e, to)
ON_PATH(int, mkdir, (const char *path, mode_t mode), (path, mode), AT_FDCWD, path)
ON_PATH(int, mkdirat, (int d, const char *path, mode_t mode), (d, path, mode), d, path)

/* Opening counts where it may make a file. */
#define OPENING(name, before, before_names, directory) \
  int name(before const char *path, int flags, ...) { \
    va_list rest; \
    va_start(rest, flags); \
    mode_t mode = flags & O_CREAT ? va_arg(rest, mode_t) : 0; \
    va_end(rest); \
    if ((flags & O_CREAT) && path_counts(directory, path) && fails()) return -1; \
    return REAL(name)(before_names path, flags, mode); \
  }
#define COMMA ,
OPENING(open, , , AT_FDCWD)
OPENING(open64, , , AT_FDCWD)
OPENING(openat, int d COMMA, d COMMA, d)
OPENING(openat64, int d COMMA, d COMMA, d)
