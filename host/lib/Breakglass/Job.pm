package Breakglass::Job;
# The execution of one mutating verb, detached from whoever asked for it. In memory it is a folder, run/jobs/<uuid>:
#   alive     locked by the worker for its whole life; the file's time is the host's uptime at the claim
#   journal   a line before each phase, and at last the final step
#   steps     what the job has said, as it goes to callers
#   errors    what nobody expected
# A VM has a file run/lock-<vmid>: locked by the worker of the job that owns it, whose id is in it.
use v5.36;
use warnings FATAL => 'all';
use Fcntl qw(LOCK_EX LOCK_NB LOCK_SH O_APPEND O_CREAT O_WRONLY);
use Breakglass::Clock qw(boot_id timestamp uptime_seconds);
use Breakglass::Json qw(object);
use Breakglass::Settings;
use Breakglass::Steps qw(ending_of sentence_of whole_steps);
use Breakglass::Task;

my $limit = \%Breakglass::Settings::limit;

# --- claiming and finding ------------------------------------------------------------------------------------------------------

# A new job with `alive` locked, or undef where there is one of this id. It appears whole, at once: a folder that is renamed.
sub claim ($class, $settings, %asked) {
  my $made = "$settings->{run}/jobs/.new-$$";
  my $self = $class->at($settings, $asked{id}, $made);
  @$self{qw(verb vmid)} = @asked{qw(verb vmid)};
  remove($made);
  mkdir $made, 0700 or die "$made: $!\n";
  $self->lock_alive or die "$made: locked by another\n";
  my $now = uptime_seconds();
  utime $now, $now, "$made/alive" or die "$made: $!\n";
  $self->note($self->entry('claimed'));
  $self->add_step('');
  my $folder = folder_of($settings, $asked{id});
  if (!rename $made, $folder) {
    remove($made);
    return undef;
  }
  $self->{folder} = $folder;
  return $self;
}

sub find ($class, $settings, $id) {
  my $self = $class->at($settings, $id, folder_of($settings, $id));
  my $first = ($self->entries)[0] // return undef;
  @$self{qw(verb vmid)} = map { member($first, $_) } qw(verb vmid);
  return $self;
}

sub at ($class, $settings, $id, $folder) { return bless { settings => $settings, id => $id, folder => $folder }, $class }

sub folder_of ($settings, $id) { "$settings->{run}/jobs/$id" }

# --- the journal ---------------------------------------------------------------------------------------------------------------

# The same line in memory and on disk.
sub entry ($self, $phase, %facts) {
  return object(job => $self->{id}, verb => $self->{verb}, vmid => $self->{vmid}, phase => $phase, ts => timestamp(),
    uptime => uptime_seconds(), boot_id => boot_id(), pid => $$, map { $_ => $facts{$_} } sort keys %facts);
}

sub note ($self, $line) { append("$self->{folder}/journal", "$line\n") }

sub journal ($self) { return slurp("$self->{folder}/journal") }

sub entries ($self) { return entries_of($self->journal) }

# The whole lines of a journal, here or on disk.
sub entries_of ($text) { return grep { $_ ne '' } split /\n/, $text =~ s/[^\n]*\z//r }

sub last_entry ($self) { return ($self->entries)[-1] // '' }

# The final step's machine line, or undef.
sub ending ($self) {
  my $last = $self->last_entry;
  return defined ending_of($last) ? $last : undef;
}

# One member of a line of ours whose values are simple.
sub member ($line, $name) {
  return $line =~ /[{,]"$name":(?:"([^"\\]*)"|([0-9.]+))/ ? $1 // $2 : undef;
}

# (machine line, sentence) of the ending that a record on disk tells; none when there is no such record.
sub ending_of_record ($record, $seq) {
  my $last = (entries_of($record))[-1] // return;
  return ($last, sentence_of($last)) if defined ending_of($last);
  my $text = "This host lost sight of the job in phase '" . (member($last, 'phase') // 'not known') . "', most likely by being started again. What became of it is unknown: ask for status.";
  my %was = map { $_ => member($last, $_) } qw(job verb vmid state_before pid_before forensics_id);
  return (object(seq => $seq, (map { $_ => $was{$_} } qw(job verb vmid)), ts => timestamp(), Breakglass::Steps::ending(5),
    state_before => $was{state_before} // 'unknown', state_after => 'unknown', pid_before => $was{pid_before}, pid_after => undef, changed => \0,
    forensics_id => $was{forensics_id}, verdict => undef, holder => undef, durable => \1, text => $text), $text);
}

# --- steps ---------------------------------------------------------------------------------------------------------------------

# Whole or not at all.
sub add_step ($self, $text) { return append("$self->{folder}/steps", $text) }

sub steps_path ($self) { "$self->{folder}/steps" }

# For a worker that takes over: drops what a dying one has left half said, and answers how many steps there are.
sub mend_steps ($self) {
  my $text = slurp($self->steps_path);
  my $rest = $text;
  my $count = () = whole_steps(\$rest);
  return $count if $rest eq '';
  append($self->steps_path . '.new', substr $text, 0, length($text) - length $rest);
  rename $self->steps_path . '.new', $self->steps_path;
  return $count;
}

# --- who lives, who owns -------------------------------------------------------------------------------------------------------

# True for one process only: for the worker, or, when it is dead, for whoever looks first.
sub lock_alive ($self) {
  # `alive` is never made here save by the claim: a forgotten job has none.
  sysopen my $alive, "$self->{folder}/alive", O_WRONLY | ($self->{folder} =~ m{/\.new-} ? O_CREAT : 0), 0600 or return 0;
  flock $alive, LOCK_EX | LOCK_NB or return 0;
  Breakglass::Task::keep_private($alive);
  $self->{alive} = $alive;
  return 1;
}

# Comes back when no worker lives. A pid would not tell: a zombie has one, and so has whoever comes after.
sub await_death ($self) {
  open my $alive, '<', "$self->{folder}/alive" or return;
  1 until flock($alive, LOCK_SH) || !$!{EINTR};
}

sub own_vm ($self) {
  sysopen my $lock, lock_path($self->{settings}, $self->{vmid}), O_WRONLY | O_CREAT, 0600 or return 0;
  flock $lock, LOCK_EX | LOCK_NB or return 0;
  truncate $lock, 0;
  syswrite $lock, $self->{id};
  Breakglass::Task::keep_private($lock);
  $self->{lock} = $lock;
  return 1;
}

sub release_vm ($self) { close delete $self->{lock} if $self->{lock} }

# Leaves the job to whoever looks next.
sub release ($self) {
  $self->release_vm;
  close delete $self->{alive} if $self->{alive};
}

# The id in the VM's lock: of its owner, or of the last one.
sub owner_of ($settings, $vmid) {
  my $id = slurp(lock_path($settings, $vmid));
  return length $id == 36 ? $id : undef;
}

sub lock_path ($settings, $vmid) { "$settings->{run}/lock-$vmid" }

# --- what is kept in memory, and for how long -----------------------------------------------------------------------------------

# Makes the folders; throws when they cannot be used.
sub prepare ($settings) {
  my ($run, $boot) = ($settings->{run}, boot_id());
  return if -d "$run/jobs" && slurp("$run/since") eq $boot;
  require File::Path;
  File::Path::make_path($run, { mode => 0700 });
  sysopen my $turn, "$run/since.lock", O_WRONLY | O_CREAT, 0600 or die "$run/since.lock: $!\n";
  flock $turn, LOCK_EX or die "$run/since.lock: $!\n";
  return if -d "$run/jobs" && slurp("$run/since") eq $boot;
  # A run that is no memory after all: its jobs are of an earlier boot, and the disk's journal tells of them.
  File::Path::remove_tree("$run/jobs");
  mkdir "$run/jobs", 0700 or die "$run/jobs: $!\n";
  knows_since($settings, uptime_seconds());
}

# For how many seconds, without a gap, this host would know of any job that had arrived.
sub journal_seconds ($settings) {
  my $age = uptime_seconds() - file_time("$settings->{run}/since");
  return $age < 0 ? 0 : $age > $limit->{journal_seconds} ? $limit->{journal_seconds} : $age;
}

sub knows_since ($settings, $uptime) {
  my $path = "$settings->{run}/since";
  sysopen my $out, $path, O_WRONLY | O_CREAT, 0600 or die "$path: $!\n";
  syswrite $out, boot_id();
  utime $uptime, $uptime, $path;
}

# Forgets what is too much or too old. Ages are measured by uptime; a job that still runs is never touched.
sub prune ($settings) {
  my $now = uptime_seconds();
  my @ids = map { m{([^/]+)\z} } glob "$settings->{run}/jobs/*";
  my @jobs = map { __PACKAGE__->at($settings, $_, folder_of($settings, $_)) } @ids;
  $_->{at} = file_time("$_->{folder}/alive") for @jobs;
  @jobs = sort { $b->{at} <=> $a->{at} } @jobs;
  my ($outputs, $bytes, $results) = (0, 0, 0);
  for my $job (@jobs) {
    my $size = -s $job->steps_path;
    $bytes += $size // 0;
    my $is_old = $now - $job->{at} > $limit->{journal_seconds};
    my $keeps_output = !$is_old && $outputs++ < $limit->{outputs_kept_max} && $bytes <= $limit->{outputs_bytes_max};
    my $keeps_result = !$is_old && $results++ < $limit->{results_kept_max};
    next if $keeps_result && ($keeps_output || !defined $size) || !defined $job->ending;
    unlink $job->steps_path, "$job->{folder}/errors";
    next if $keeps_result;
    knows_since($settings, $job->{at}) if !$is_old && $job->{at} > file_time("$settings->{run}/since");
    remove($job->{folder});
  }
  sweep($settings);
}

# What calls that were killed have left behind: their names end in their pid.
sub sweep ($settings) {
  for my $path (glob "$settings->{run}/.*-* $settings->{run}/jobs/.new-*") {
    my ($pid) = $path =~ /-(\d+)\z/ or next;
    next if -d "/proc/$pid";
    -d $path ? remove($path) : unlink $path;
  }
}

# --- files ---------------------------------------------------------------------------------------------------------------------

# Memory may be full, too: what does not fit is taken back, so that nothing is ever there by half.
sub append ($path, $text) {
  sysopen my $out, $path, O_WRONLY | O_APPEND | O_CREAT, 0600 or return 0;
  my $before = -s $out;
  my $written = $text eq '' ? 0 : syswrite $out, $text;
  return 1 if ($written // -1) == length $text;
  truncate $out, $before;
  return 0;
}

sub remove ($folder) {
  unlink glob "$folder/*";
  rmdir $folder;
}

sub slurp ($path) {
  open my $in, '<:raw', $path or return '';
  local $/;
  return readline($in) // '';
}

sub file_time ($path) { return (stat $path)[9] // 0 }

1;
