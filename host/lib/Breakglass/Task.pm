package Breakglass::Task;
# A child that may hang. It is a process group of its own, has nothing of ours but its output, and is never waited for beyond its
# limit: then it is killed and left, since a process in D state does not even hear that.
use v5.36;
use warnings FATAL => 'all';
use Breakglass::Clock qw(uptime_ms);
use Breakglass::Settings;

# For output in files; in memory.
our $folder;
my @private;
my ($woken, $wake);
my $wnohang = 1;   # sys/wait.h, on every Linux: the module POSIX takes 15 ms to load, which every `status` would pay

# These handles (locks) stay with this process: a forked child, or a QEMU, would hold them for ever.
sub keep_private (@handles) { push @private, @handles }

# run: a command as a list, or a function whose output is what it prints. limit_ms: none is no limit. into_file: for what may
# live longer than we do; it would die of our end of a pipe.
sub begin ($class, %option) {
  my $self = bless { bytes => 0, text => '', %option }, $class;
  $self->{deadline} = uptime_ms() + $option{limit_ms} if defined $option{limit_ms};
  listen_for_ends();
  my $out;
  if ($option{into_file}) { ($self->{file}, $out) = scratch_file() }
  else { pipe $self->{pipe}, $out or die "pipe: $!\n" }
  my $pid = fork;
  if (!defined $pid) { @$self{qw(end code text)} = ('failed', 127, "fork: $!") }
  elsif ($pid) { $self->{pid} = $pid }
  else { become($self->{run}, $out) }
  return $self;
}

# What a function prints, or undef when it hung or failed.
sub answer_of ($class, $limit_ms, $function) {
  my $self = $class->begin(run => $function, limit_ms => $limit_ms);
  next_ended(undef, $self);
  return $self->{end} eq 'answered' ? $self->{text} : undef;
}

# The first of these that has ended, as soon as one has; undef when it is $until (undef: however long it takes).
sub next_ended ($until, @tasks) {
  while (1) {
    for my $task (@tasks) { return $task if $task->has_ended }
    my $now = uptime_ms();
    return undef if defined $until && $now >= $until;
    my ($next) = sort { $a <=> $b } grep { defined } $until, map { $_->{deadline} } @tasks;
    my $readable = '';
    vec($readable, fileno $_, 1) = 1 for $woken, grep { defined } map { $_->{pipe} } @tasks;
    next if 0 >= select $readable, undef, undef, defined $next ? ($next > $now ? ($next - $now) / 1000 : 0) : undef;
    sysread $woken, my $ends, 4096 if vec $readable, fileno $woken, 1;
    for my $task (@tasks) { $task->take if $task->{pipe} && vec $readable, fileno $task->{pipe}, 1 }
  }
}

sub await ($until, @tasks) {
  while (my @left = grep { !defined $_->{end} } @tasks) { return 0 unless next_ended($until, @left) }
  return 1;
}

sub nap ($ms) { next_ended(uptime_ms() + $ms) }

# end: "answered" (code 0), "failed" (code), "hung" (given up, and no code).
sub has_ended ($self) {
  return 1 if defined $self->{end};
  if (waitpid($self->{pid}, $wnohang) == $self->{pid}) {
    $self->{code} = $? & 127 ? 128 + ($? & 127) : $? >> 8;
    $self->{end} = $self->{code} == 0 ? 'answered' : 'failed';
    # Not to its end: what it started may still hold it.
    while ($self->{pipe} && has_more($self->{pipe})) { $self->take }
  } elsif (defined $self->{deadline} && uptime_ms() >= $self->{deadline}) {
    $self->give_up;
  }
  delete $self->{pipe} if defined $self->{end};
  return defined $self->{end};
}

sub give_up ($self) {
  # Its group, and itself in case it has none yet.
  kill KILL => -$self->{pid}, $self->{pid};
  $self->{end} = 'hung';
}

sub text ($self) {
  return $self->{text} unless $self->{file};
  sysseek $self->{file}, 0, 0;
  sysread $self->{file}, my $text, $Breakglass::Settings::limit{evidence_bytes_max};
  return $text // '';
}

sub take ($self) {
  my $read = sysread $self->{pipe}, my $bytes, 65_536;
  if (!$read) { delete $self->{pipe}; return }
  $self->{bytes} += $read;
  my $room = $Breakglass::Settings::limit{evidence_bytes_max} - length $self->{text};
  $self->{text} .= substr $bytes, 0, $room if $room > 0;
}

sub has_more ($pipe) {
  vec(my $readable = '', fileno $pipe, 1) = 1;
  return 0 < select $readable, undef, undef, 0;
}

sub become ($run, $out) {
  # Signals are as they would be anywhere else: QEMU inherits them.
  $SIG{$_} = 'DEFAULT' for qw(CHLD HUP PIPE INT TERM);
  setpgrp;
  close $_ for @private;
  my $code = eval {
    open STDIN, '<', '/dev/null' or die "$!\n";
    open STDOUT, '>&', $out or die "$!\n";
    open STDERR, '>&', $out or die "$!\n";
    close $out;
    $| = 1;
    if (ref $run eq 'ARRAY') { exec { $run->[0] } @$run }
    $run->();
    0;
  };
  print $@ unless defined $code;
  exit($code // 127);
}

# Seen by nobody else and gone with its last user, whatever becomes of us.
sub scratch_file () {
  my $path = "$folder/.output-$$";
  open my $out, '>>', $path or die "$path: $!\n";
  open my $in, '<', $path or die "$path: $!\n";
  unlink $path;
  return ($in, $out);
}

sub listen_for_ends () {
  return if $woken && $SIG{CHLD} && ref $SIG{CHLD};
  pipe $woken, $wake or die "pipe: $!\n";
  $SIG{CHLD} = sub { syswrite $wake, '.' };
}

1;
