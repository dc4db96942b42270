package Breakglass::Forensics;
# Evidence, gathered before anything is changed: every probe by itself and at the same time, each with a limit. What hangs is
# marked and left; nothing here can keep a verb from happening.
use v5.36;
use warnings FATAL => 'all';
use Breakglass::Clock qw(timestamp_compact uptime_ms);
use Breakglass::Disk;
use Breakglass::Job;
use Breakglass::Machine;
use Breakglass::Pve;
use Breakglass::Qmp;
use Breakglass::Settings;
use Breakglass::Task;

my $limit = \%Breakglass::Settings::limit;

# with: settings, pve, machine (looked at), steps, disk. Says every probe's step as it ends; answers the verdict, and the id of
# what was kept.
sub gather (%with) {
  my ($settings, $pve, $machine) = @with{qw(settings pve machine)};
  my $self = bless { %with, found => {}, picture => "$settings->{run}/.screen-$machine->{vmid}-$$" }, __PACKAGE__;
  $self->probe;
  my $verdict = $self->judge;
  my $id = timestamp_compact() . "-$machine->{vmid}-$$";
  $self->keep($id, $verdict);
  return ($verdict, $id);
}

sub probe ($self) {
  my ($settings, $pve, $machine) = @$self{qw(settings pve machine)};
  my $probe_ms = $settings->ms('probe_ms');
  my $until = uptime_ms() + $settings->ms('forensics_ms');
  my $pid = $machine->{pid};
  my %task = (
    'qm-status'   => $pve->status($probe_ms),
    'qm-config'   => $pve->config($probe_ms),
    'qm-pending'  => $pve->pending($probe_ms),
    'guest-agent' => $pve->agent_ping($probe_ms),
    'host'        => Breakglass::Task->begin(run => \&host_facts, limit_ms => $probe_ms),
    'kernel'      => Breakglass::Task->begin(run => ['/bin/dmesg'], limit_ms => $probe_ms),
  );
  if (defined $pid) {
    $task{threads} = Breakglass::Task->begin(run => sub { print threads($pid) }, limit_ms => $probe_ms);
    $task{qmp} = Breakglass::Qmp::ask($pve->qmp_path, $probe_ms, map { [$_] } qw(query-status query-blockstats query-jobs query-block-jobs));
    $task{'qmp-later'} = $self->look_again($probe_ms);
  }
  my %left = %task;
  while (%left) {
    my $ended = Breakglass::Task::next_ended($until, values %left);
    my ($name) = $ended ? grep { $left{$_} == $ended } keys %left : sort keys %left;
    my $done = delete $left{$name};
    $done->give_up unless $ended;
    $self->tell($name, $done);
  }
}

# A second look at the counters, and a picture of the screen, last of all: it is what QEMU may choke on.
sub look_again ($self, $probe_ms) {
  my ($path, $picture) = ($self->{pve}->qmp_path, $self->{picture});
  my $apart_ms = $self->{settings}->pause_ms('blockstats_apart_ms');
  return Breakglass::Task->begin(limit_ms => $apart_ms + $probe_ms, run => sub {
    Breakglass::Task::nap($apart_ms);
    # A QEMU that knows no format makes a PPM.
    my $plainly = sub ($name, $line) { $name eq 'screendump' && $line =~ /"error".*format/ ? ['screendump', filename => $picture] : undef };
    Breakglass::Qmp::converse($path, $plainly, ['query-blockstats'], ['screendump', filename => $picture, format => 'png']);
  });
}

# --- what is said and kept --------------------------------------------------------------------------------------------------------

my %probe_of = (
  'qmp' => { 'query-status' => 'qmp-status', 'query-blockstats' => 'qmp-blockstats-1', 'query-jobs' => 'qmp-jobs', 'query-block-jobs' => 'qmp-block-jobs' },
  'qmp-later' => { 'query-blockstats' => 'qmp-blockstats-2', 'screendump' => 'screen' },
);

sub tell ($self, $name, $task) {
  my $probes = $probe_of{$name};
  if (!$probes) {
    my $text = $name eq 'kernel' ? last_lines($task->text, $limit->{kernel_lines_max}) : $task->text;
    return $self->say_evidence($name, $task->{end}, $text, $name eq 'kernel' ? length $text : $task->{bytes}, $task->{code});
  }
  my %answers = Breakglass::Qmp::answers($task);
  for my $command (sort keys %$probes) {
    my $answer = $answers{$command};
    if ($command eq 'screendump' && ($answer // '') =~ /"return"/) { $self->show_screen; next }
    my ($end, $text) = defined $answer ? ($answer =~ /^\{"error"|"error": ?\{"class"/ ? 'failed' : 'answered', $answer) : ($task->{end} eq 'hung' ? 'hung' : 'failed', $task->text);
    $self->say_evidence($probes->{$command}, $end, $text, length $text);
  }
}

sub say_evidence ($self, $probe, $end, $text, $bytes, $code = undef) {
  $self->{found}{$probe} = { end => $end, text => $text };
  my $how = $end eq 'hung' ? 'HUNG' : $end eq 'failed' && defined $code ? "failed ($code)" : $end;
  $self->{steps}->say_step(["$probe: $how"], probe => $probe, end => $end, output => substr($text, 0, $limit->{output_bytes_max}), bytes => $bytes,
    $end eq 'failed' && defined $code ? (code => $code) : ());
}

sub show_screen ($self) {
  my $bytes = -s $self->{picture} // 0;
  my $file = $bytes && $bytes <= $limit->{picture_bytes_max} ? Breakglass::Disk::read_whole($self->{picture}) : '';
  my $is_png = $file =~ /\A\x89PNG/;
  if ($is_png && $bytes <= $limit->{png_bytes_max}) {
    require MIME::Base64;
    $self->{found}{screen} = { end => 'answered' };
    $self->{copy} = { 'screen.png' => $self->{picture} };
    return $self->{steps}->say_step(['screen: answered'], probe => 'screen', end => 'answered', png => MIME::Base64::encode_base64($file, ''));
  }
  my $kind = $is_png ? 'png' : 'ppm';
  $self->{copy} = { "screen.$kind" => $self->{picture} } if $file ne '';
  my $words = $file eq '' ? "A picture of $bytes bytes was not kept." : "A picture of $bytes bytes is kept on the host only, as screen.$kind of this evidence.";
  $self->say_evidence('screen', 'answered', $words, length $words);
}

sub keep ($self, $id, $verdict) {
  my %files = map { defined $self->{found}{$_}{text} ? ($_ => "$self->{found}{$_}{end}\n$self->{found}{$_}{text}") : () } keys %{ $self->{found} };
  $self->{disk}->keep_evidence($id, { %files, verdict => "$verdict\n" }, $self->{copy} // {});
  $self->{disk}->settle;
  unlink $self->{picture};
}

# --- the verdict --------------------------------------------------------------------------------------------------------------------

# io-stall-suspected needs all of it: QMP answers twice, operation counters are frozen or all but, and a guest agent that is
# configured does not answer. An idle guest that answers is healthy; a guest without an agent cannot be told from here.
sub judge ($self) {
  my $found = $self->{found};
  return 'off' unless defined $self->{machine}{pid};
  my ($first, $second) = map { $found->{"qmp-blockstats-$_"} } 1, 2;
  return 'qmp-silent' if grep { $_->{end} ne 'answered' } $first, $second;
  my ($before, $after) = map { operations($_->{text}) } $first, $second;
  return 'inconclusive: no disk counters' unless defined $before && defined $after;
  return 'disk-io-moves' if abs($after - $before) > $limit->{stalled_operations_max};
  return 'idle: the guest agent answers' if $found->{'guest-agent'}{end} eq 'answered';
  return 'io-stall-suspected' if Breakglass::Pve::has_agent($found->{'qm-config'}{text} // '');
  return 'inconclusive: disk counters stand still and there is no guest agent to ask';
}

sub operations ($blockstats) {
  my @counts = $blockstats =~ /"(?:rd|wr|flush|unmap)_operations": ?(\d+)/g or return undef;
  my $sum = 0;
  $sum += $_ for @counts;
  return $sum;
}

# --- what the host itself shows ------------------------------------------------------------------------------------------------------

# Each thread's state, and where in the kernel it waits.
sub threads ($pid) {
  my $text = '';
  for my $folder (glob "/proc/$pid/task/*") {
    my ($state) = Breakglass::Job::slurp("$folder/status") =~ /^State:\s*(.*)$/m;
    $text .= join ' ', $folder =~ /(\d+)\z/, $state // 'gone', Breakglass::Job::slurp("$folder/wchan") . "\n";
  }
  return $text;
}

sub host_facts () {
  for my $file (qw(loadavg pressure/io pressure/memory pressure/cpu)) { print "$file: ", Breakglass::Job::slurp("/proc/$file") =~ s/\n*\z/\n/r }
  print map { "$_\n" } (split /\n/, Breakglass::Job::slurp('/proc/meminfo'))[0 .. 2];
  # Devices that have done anything at all.
  print map { "$_\n" } grep { !/ 0 0 0 0 0 0 0 0 0 0 0/ } split /\n/, Breakglass::Job::slurp('/proc/diskstats');
}

sub last_lines ($text, $count) {
  my @lines = split /^/, $text;
  splice @lines, 0, @lines - $count if @lines > $count;
  return join '', @lines;
}

1;
