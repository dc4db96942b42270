package Breakglass::Clock;
# Ages and waits are measured by the host's uptime, which nobody sets; the wall clock is only ever shown.
use v5.36;
use warnings FATAL => 'all';
use Exporter 'import';
use Time::HiRes ();
our @EXPORT_OK = qw(uptime_ms uptime_seconds timestamp timestamp_compact boot_id);

# The boot-time clock counts while the host sleeps. (linux/time.h)
my $clock_boottime = 7;

sub uptime_ms () { Time::HiRes::clock_gettime($clock_boottime) * 1000 }
sub uptime_seconds () { int Time::HiRes::clock_gettime($clock_boottime) }

sub timestamp () {
  my ($seconds, $micros) = Time::HiRes::gettimeofday();
  my ($s, $m, $h, $day, $month, $year) = gmtime $seconds;
  return sprintf '%04d-%02d-%02dT%02d:%02d:%02d.%03dZ', $year + 1900, $month + 1, $day, $h, $m, $s, $micros / 1000;
}

sub timestamp_compact () { timestamp() =~ tr/-://dr =~ s/\.\d+//r }

sub boot_id () {
  open my $in, '<', '/proc/sys/kernel/random/boot_id' or return 'unknown';
  chomp(my $id = <$in>);
  return $id;
}

1;
