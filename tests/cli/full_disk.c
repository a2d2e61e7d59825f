/* Preloaded into the program: a disk that is full from the FULL_DISK_AT-th write on (counted from
 * 1; write(2) and fsync(2) of regular files with a name). The first of these writes half of what it
 * was given, as a disk does that fills up. FULL_DISK_COUNT names a file that gets a line for each.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static atomic_int calls;

static int is_named_file(int descriptor) {
  struct stat status;
  return fstat(descriptor, &status) == 0 && S_ISREG(status.st_mode) && status.st_nlink > 0;
}

/* Number of this call if the disk is full by now, else 0; *first is set for the first such. */
static int full_since(int* first) {
  const int call = atomic_fetch_add(&calls, 1) + 1;
  const char* at = getenv("FULL_DISK_AT");
  const char* count = getenv("FULL_DISK_COUNT");
  const int full_at = at == NULL ? 0 : atoi(at);
  if (count != NULL) {
    const int log = open(count, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (log >= 0) {
      syscall(SYS_write, log, "\n", (size_t)1);
      close(log);
    }
  }
  *first = call == full_at;
  return full_at > 0 && call >= full_at;
}

ssize_t write(int descriptor, const void* data, size_t size) {
  int first = 0;
  if (is_named_file(descriptor) && full_since(&first)) {
    if (first && size > 1) return syscall(SYS_write, descriptor, data, size / 2);
    errno = ENOSPC;
    return -1;
  }
  return syscall(SYS_write, descriptor, data, size);
}

int fsync(int descriptor) {
  int first = 0;
  if (is_named_file(descriptor) && full_since(&first)) {
    errno = ENOSPC;
    return -1;
  }
  return (int)syscall(SYS_fsync, descriptor);
}
