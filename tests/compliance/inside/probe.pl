# Runs in a container: what its system calls and mounts do, against what they should.
use strict;
use warnings;
use Errno qw(EACCES EPERM EROFS ENOSYS);

my $failures = 0;

sub check {
    my ($what, $right) = @_;
    print(($right ? "ok      " : "WRONG   "), $what, "\n");
    $failures++ unless $right;
}

# The error number of a system call whose arguments are all invalid; 0 when it worked.
sub error_of {
    my ($number, @arguments) = @_;
    $! = 0;
    my $result = syscall($number, @arguments, (-1) x (6 - @arguments));
    return $result == -1 ? $! + 0 : 0;
}

# From number 424 on, system calls have the same number on every architecture.
my %allowed = (pidfd_send_signal => 424, pidfd_open => 434, close_range => 436, openat2 => 437,
    faccessat2 => 439, epoll_pwait2 => 441, futex_waitv => 449);
for my $name (sort keys %allowed) {
    my $error = error_of($allowed{$name});
    check("$name is let through (error $error)", $error != ENOSYS && $error != EPERM);
}
my %refused = (open_tree => 428, move_mount => 429, fsopen => 430, pidfd_getfd => 438,
    mount_setattr => 442, io_uring_setup => 425);
for my $name (sort keys %refused) {
    my $error = error_of($refused{$name});
    check("$name is not permitted (error $error)", $error == EPERM);
}
my %unknown = (clone3 => 435, statmount => 457, 'a call of no kernel' => 1999);
for my $name (sort keys %unknown) {
    my $error = error_of($unknown{$name});
    check("$name is not implemented (error $error)", $error == ENOSYS);
}

my %status = map { /^(\w+):\s*(.*)/ ? ($1 => $2) : () } do { open(my $file, '<', '/proc/self/status') or die; <$file> };
check("$_ is empty", hex($status{$_}) == 0) for qw(CapInh CapPrm CapEff CapBnd CapAmb);
check('no_new_privs is set', $status{NoNewPrivs} == 1);
check('a filter is loaded', $status{Seccomp} == 2);
check('the user is the one asked for', $status{Uid} =~ /^65534(\s+65534){3}$/);
check('the groups are the ones asked for', $status{Groups} =~ /^65534\s*$/);
check('the hostname is the one asked for', do { open(my $file, '<', '/proc/sys/kernel/hostname') or die; <$file> } eq "hostname1\n");

# The directory below is a mount of its own, writable by everybody on the host.
check('a mount below a read-only one is read-only', !open(my $file, '>', '/mnt/below/x') && $! == EROFS);
check('a writable one is writable', open($file, '>', '/tmp/x') && unlink('/tmp/x'));
check('a device file of the host does not work', !open($file, '<', '/tmp/null') && $! == EACCES);
check('the root file system is read-only', do { my @fields; open(my $mounts, '<', '/proc/self/mountinfo') or die;
    while (<$mounts>) { @fields = split; last if $fields[4] eq '/' } $fields[5] =~ /\bro\b/ });

exit($failures ? 1 : 0);
