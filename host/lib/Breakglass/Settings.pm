package Breakglass::Settings;
# What can be set, by the file named on the forced command's own command line and by nothing else; and every limit.
use v5.36;
use warnings FATAL => 'all';

my %default = (
  qm      => '/usr/sbin/qm',
  pidfile => '/var/run/qemu-server/%s.pid',     # %s is the VM id
  qmp     => '/var/run/qemu-server/%s.qmp',
  nodes   => '/etc/pve/nodes',                  # a folder for each node of the cluster, with the VMs that live there
  run     => '/run/breakglass-host',            # jobs and locks: memory, so that a hung disk cannot hold a verb
  state   => '/var/lib/breakglass-host',        # journal and evidence, kept over a reboot
  log     => '/var/log/breakglass-host.log',
  scale   => 1000,                              # thousandths of every limit in %wait
  pauses  => 1000,                              # the same of what is merely waited between two acts, in %pause
);

# Milliseconds; `ms` scales them.
my %wait = (
  probe_ms             => 5_000,                 # one probe; then it is marked as hung and left
  forensics_ms         => 20_000,                # all probes; then the verb goes on without the rest
  status_ms            => 4_000,                 # one question of `status`; then its fact is "no answer"
  reset_ms             => 30_000,                # qm reset; then the outcome is unknown
  stop_ms              => 150_000,               # qm stop escalates for up to 131 s; then we kill the process ourselves
  stop_grace_ms        => 5_000,                 # qm stop has ended and the process lives: then the same
  stop_linger_ms       => 10_000,                # the process is gone and qm stop still runs: then it is ended
  qm_end_ms            => 5_000,                 # a qm that is asked to end; then it and what it started are killed
  kill_ms              => 10_000,                # after our own SIGKILL; then exit 7
  start_ms             => 300_000,               # the verb `start` waits so long for qm start; then exit 5, and qm start goes on
  verify_ms            => 60_000,                # from qm start's end to a running machine; then exit 8
  ha_ms                => 150_000,               # HA was asked to start it; then exit 5
);
# Milliseconds; `pause_ms` scales them.
my %pause = (
  blockstats_apart_ms  => 5_000,                 # between two looks at the disk counters
  look_ms              => 100,                   # between two looks at a process that is to end
  verify_apart_ms      => 500,                   # between two looks at a machine that is to run
);
# Before each of a cycle's starts; after the last, exit 6.
my @start_pauses_ms = (0, 5_000, 15_000);

# Never scaled.
our %limit = (
  disk_ms                => 1_000,               # what is written to or read from a disk; then the verb goes on and says durable:false
  look_at_ms             => 1_000,               # the arguments of a process, a file of the cluster's; then they are unknown
  ask_ms                 => 4_000,               # one question to a QEMU that was started; then it is asked again
  revive_seconds         => 600,                 # a dead cycle is started by us only within so long; later a person decides
  journal_seconds        => 86_400,              # a job is known for so long, and its id acts once
  results_kept_max       => 10_000,              # jobs known in memory; beyond it the oldest is forgotten, and journal_seconds shrinks
  outputs_kept_max       => 50,                  # jobs whose whole output is in memory; of older ones only the final step
  outputs_bytes_max      => 16_777_216,          # the same, by their size
  records_kept_max       => 1_000,               # jobs on disk; beyond it the oldest goes
  forensics_kept_max     => 20,                  # folders of evidence; the oldest goes
  log_bytes_max          => 1_048_576,           # then the log becomes .1 and the old .1 goes
  output_bytes_max       => 16_384,              # of a probe's output in a step; more is in the evidence
  evidence_bytes_max     => 262_144,             # of a probe's output in the evidence; more is only counted
  png_bytes_max          => 262_144,             # a larger picture stays on this host
  picture_bytes_max      => 16_777_216,          # a larger one is not kept at all
  said_chars_max         => 200,                 # logged of what the caller sent
  stalled_operations_max => 20,                  # disk operations between the two looks: not more is frozen, or all but
  kernel_lines_max       => 30,
);

# Throws a sentence for a person.
sub read ($class, $file) {
  my $self = bless {%default}, $class;
  return $self if $file eq '';
  open my $in, '<', $file or die "The configuration file named in this key's forced command cannot be read.\n";
  while (my $line = <$in>) {
    chomp $line;
    next if $line eq '' || $line =~ /^#/;
    my ($name, $value) = split /=/, $line, 2;
    die 'The configuration has a line that is none of ' . join(', ', sort keys %default) . ".\n"
      unless defined $value && exists $default{$name};
    if ($name eq 'scale' || $name eq 'pauses') {
      die "The configuration has a $name that is no number from 1 to 9999.\n" unless $value =~ /\A[1-9][0-9]{0,3}\z/;
    } elsif ($value !~ m{\A/}) {
      die "The configuration has a $name that is no absolute path.\n";
    }
    $self->{$name} = $value;
  }
  return $self;
}

sub ms ($self, $name) { $wait{$name} * $self->{scale} / 1000 }

sub pause_ms ($self, $name) { $pause{$name} * $self->{pauses} / 1000 }

sub start_pauses_ms ($self) { map { $_ * $self->{pauses} / 1000 } @start_pauses_ms }

sub path ($self, $name, $vmid) { $self->{$name} =~ s/%s/$vmid/gr }

# As they are in force here.
sub limits ($self) { (%limit, map { $_ => int $self->ms($_) } keys %wait) }

1;
