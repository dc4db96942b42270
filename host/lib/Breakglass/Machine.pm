package Breakglass::Machine;
# What /proc shows of one VM: the only truth about on and off, whatever qm answers.
use v5.36;
use warnings FATAL => 'all';
use Breakglass::Clock qw(uptime_seconds);
use Breakglass::Settings;
use Breakglass::Task;

my $clock_ticks_per_second = 100;   # USER_HZ, on every architecture that Proxmox knows

sub new ($class, $settings, $vmid) {
  return bless { vmid => $vmid, pidfile => $settings->path('pidfile', $vmid), state => 'unknown' }, $class;
}

# Answers and keeps `state` (running, stopped, unknown), pid, born (ticks since boot) and process_state (the letter).
sub look ($self) {
  # The pid file may go before the process does; a hung start leaves a QEMU without one.
  for my $pid ($self->noted_pid, $self->{known_pid}) { return $self->{state} if defined $pid && $self->look_at($pid) }
  my $found = $self->search;
  return $self->{state} if defined $found && $self->look_at($found);
  @$self{qw(state pid born process_state)} = ('stopped', undef, undef, undef);
  return 'stopped';
}

sub is_same_as ($self, $pid, $born) {
  return $self->{state} eq 'running' && defined $pid && $self->{pid} == $pid && $self->{born} == $born;
}

sub age_seconds ($self) {
  return defined $self->{born} ? int(uptime_seconds() - $self->{born} / $clock_ticks_per_second) : undef;
}

sub noted_pid ($self) {
  open my $in, '<', $self->{pidfile} or return undef;
  my $line = readline($in) // '';
  return $line =~ /\A([1-9][0-9]{0,9})\n?\z/ ? $1 : undef;
}

# True, and all is kept, when this process is the VM's and lives.
sub look_at ($self, $pid) {
  my (undef, $born) = state_and_birth($pid) or return 0;
  my ($part) = living_parts($pid) or return 0;
  my $letter = $part->{letter};
  my $known = defined $self->{known_pid} && $pid == $self->{known_pid} && $born == $self->{known_born};
  if (!$known) {
    # In a child, since reading the arguments of a process whose memory is locked may hang.
    my $answer = Breakglass::Task->answer_of($Breakglass::Settings::limit{look_at_ms},
      sub { print carries_id($self->{vmid}, arguments($pid)) ? 'yes' : 'no' });
    return 0 if ($answer // '') eq 'no';
    $known = ($answer // '') eq 'yes';
    @$self{qw(known_pid known_born)} = ($pid, $born) if $known;
  }
  @$self{qw(state pid born process_state)} = ($known ? 'running' : 'unknown', $pid, $born, $letter);
  return 1;
}

# By the id and by the pid file that it was told to write. A search that does not end in time (the arguments of some other
# process cannot be read) has found nothing: else one such process would keep every VM off.
sub search ($self) {
  my $pidfile = $self->{pidfile};
  return find_process(sub (@words) { carries_id($self->{vmid}, @words) && has_pair('-pidfile', $pidfile, @words) });
}

# The first process whose arguments are meant; undef where none is, or the looking hangs.
sub find_process ($is_meant) {
  my $found = Breakglass::Task->answer_of($Breakglass::Settings::limit{look_at_ms}, sub {
    for my $folder (glob '/proc/[1-9]*') {
      my ($pid) = $folder =~ /(\d+)/;
      next if $pid == $$;
      return print $pid if $is_meant->(arguments($pid));
    }
  });
  return length($found // '') ? $found : undef;
}

sub arguments ($pid) {
  for my $part (living_parts($pid)) {
    open my $in, '<', "/proc/$part->{place}/cmdline" or next;
    local $/;
    my $words = readline($in) // '';
    return split /\0/, $words if $words ne '';
  }
  return ();
}

# The letter and the place below /proc of what lives of a process: its leader, else other threads. A killed process with a thread
# that hangs on its storage has a zombie for a leader, without arguments, and still writes to its disks.
sub living_parts ($pid) {
  my $lives = sub ($place) {
    my ($letter) = stat_fields($place) or return ();
    return $letter =~ /[ZX]/ ? () : { letter => $letter, place => $place };
  };
  my @leader = $lives->($pid);
  return @leader ? @leader : map { $lives->(substr $_, length '/proc/') } glob "/proc/$pid/task/[1-9]*";
}

# As separate arguments: a substring of the whole would take 1021 for 102.
sub carries_id ($vmid, @words) { has_pair('-id', $vmid, @words) }

sub has_pair ($first, $second, @words) {
  for my $i (0 .. $#words - 1) { return 1 if $words[$i] eq $first && $words[$i + 1] eq $second }
  return 0;
}

# [pid, born] of all that a process has started and that lives.
sub descendants ($pid) {
  my %children;
  for my $folder (glob '/proc/[1-9]*') {
    my ($child) = $folder =~ /(\d+)/;
    my @fields = stat_fields($child) or next;
    push @{ $children{ $fields[1] } }, [$child, $fields[19]];
  }
  my @found = @{ $children{$pid} // [] };
  for (my $i = 0; $i < @found; $i++) { push @found, @{ $children{ $found[$i][0] } // [] } }
  return @found;
}

sub state_and_birth ($pid) {
  my @fields = stat_fields($pid);
  return @fields ? @fields[0, 19] : ();
}

# Of a process, or of a thread (PID/task/TID).
sub stat_fields ($place) {
  open my $in, '<', "/proc/$place/stat" or return;
  local $/;
  # The name in parentheses may hold anything, parentheses and newlines included.
  my @fields = split ' ', (readline($in) // '') =~ s/.*\) //sr;
  return defined $fields[19] ? @fields : ();
}

1;
