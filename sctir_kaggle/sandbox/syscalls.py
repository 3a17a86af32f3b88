"""Numbers of the system calls that the filter names, for x86_64 and aarch64.

Sources, from the kernel: arch/x86/entry/syscalls/syscall_64.tbl, include/uapi/asm-generic/unistd.h (aarch64 uses the
generic numbers) and include/uapi/linux/audit.h. Calls from 424 on have one number everywhere.
"""

from __future__ import annotations

HIGHEST = 471
"""The highest number assigned when this was written, on either machine: rseq_slice_yield, Linux 7.0."""

AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
"""By uname(2)'s name of a machine, the number by which seccomp names it."""

X32_BIT = 0x40000000
"""Set in the numbers of the x32 interface, which seccomp reports as x86_64."""

_TABLE = """
    brk 12 214   mmap 9 222   munmap 11 215   mremap 25 216   mprotect 10 226   madvise 28 233   msync 26 227
    mincore 27 232   membarrier 324 283
    clone 56 220   clone3 435 435   exit 60 93   exit_group 231 94   futex 202 98   get_robust_list 274 100
    set_robust_list 273 99   set_tid_address 218 96   rseq 334 293   restart_syscall 219 128   sched_yield 24 124
    sched_getaffinity 204 123   sched_getparam 143 121   sched_getscheduler 145 120   sched_get_priority_max 146 125
    sched_get_priority_min 147 126   getcpu 309 168   gettid 186 178   wait4 61 260   waitid 247 95
    read 0 63   write 1 64   pread64 17 67   pwrite64 18 68   readv 19 65   writev 20 66   preadv 295 69
    pwritev 296 70   preadv2 327 286   pwritev2 328 287   lseek 8 62   open 2 -   openat 257 56   openat2 437 437
    creat 85 -   close 3 57   close_range 436 436   dup 32 23   dup2 33 -   dup3 292 24   fcntl 72 25   ioctl 16 29
    fstat 5 80   newfstatat 262 79   stat 4 -   lstat 6 -   statx 332 291   access 21 -   faccessat 269 48
    faccessat2 439 439   readlink 89 -   readlinkat 267 78   getdents 78 -   getdents64 217 61   getcwd 79 17
    chdir 80 49   fchdir 81 50   pipe 22 -   pipe2 293 59   fsync 74 82   fdatasync 75 83   flock 73 32
    sendfile 40 71   copy_file_range 326 285   truncate 76 45   ftruncate 77 46   fallocate 285 47
    fadvise64 221 223   statfs 137 43   fstatfs 138 44   umask 95 166   mkdir 83 -   mkdirat 258 34   rmdir 84 -
    unlink 87 -   unlinkat 263 35   rename 82 -   renameat 264 38   renameat2 316 276
    poll 7 -   ppoll 271 73   select 23 -   pselect6 270 72   epoll_create 213 -   epoll_create1 291 20
    epoll_ctl 233 21   epoll_wait 232 -   epoll_pwait 281 22   epoll_pwait2 441 441   eventfd 284 -
    eventfd2 290 19   timerfd_create 283 85   timerfd_settime 286 86   timerfd_gettime 287 87
    clock_gettime 228 113   clock_getres 229 114   clock_nanosleep 230 115   nanosleep 35 101   gettimeofday 96 169
    time 201 -   times 100 153   getrusage 98 165   getitimer 36 102   setitimer 38 103   alarm 37 -
    rt_sigaction 13 134   rt_sigprocmask 14 135   rt_sigreturn 15 139   rt_sigpending 127 136
    rt_sigtimedwait 128 137   rt_sigsuspend 130 133   sigaltstack 131 132   pause 34 -   kill 62 129
    tgkill 234 131
    socket 41 198   socketpair 53 199   connect 42 203   bind 49 200   listen 50 201   accept 43 202
    accept4 288 242   sendto 44 206   recvfrom 45 207   shutdown 48 210   getsockname 51 204   getpeername 52 205
    getsockopt 55 209
    getpid 39 172   getppid 110 173   getuid 102 174   geteuid 107 175   getgid 104 176   getegid 108 177
    getresuid 118 148   getresgid 120 150   getgroups 115 158   getpgrp 111 -   getpgid 121 155   getsid 124 156
    getpriority 140 141   capget 125 90   uname 63 160   sysinfo 99 179   getrandom 318 278   getrlimit 97 163
    setrlimit 160 164   prlimit64 302 261   prctl 157 167
"""
"""Name, number on x86_64, number on aarch64; `-` where that machine never had the call."""


def numbers(machine: str) -> dict[str, int]:
    """The number of every call in the table that `machine` has, by name; KeyError for an unknown machine."""
    column = {"x86_64": 1, "aarch64": 2}[machine]
    words = _TABLE.split()
    rows = zip(words[::3], words[column::3], strict=True)
    return {name: int(number) for name, number in rows if number != "-"}
