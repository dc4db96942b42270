package Breakglass::Disk;
# What is written to a disk, or read from it: always by a child with a limit, since the disk may be full, read-only or hung. A place
# that has hung once is left alone, so that a whole verb loses one second to it and no more.
use v5.36;
use warnings FATAL => 'all';
use Fcntl qw(O_APPEND O_CREAT O_EXCL O_WRONLY SEEK_END);
use Breakglass::Clock qw(timestamp);
use Breakglass::Json;
use Breakglass::Settings;
use Breakglass::Task;

my $limit = \%Breakglass::Settings::limit;

sub new ($class, $settings) { return bless { settings => $settings, durable => 1, hung => {}, begun => {} }, $class }

# `settle` says what became of it. Never throws: a host that has no more processes or descriptors to give still has a verb to end.
sub begin ($self, $place, $function) {
  return if $self->{hung}{$place};
  my $task = eval { Breakglass::Task->begin(run => $function, limit_ms => $limit->{disk_ms}) };
  if ($task) { $self->{begun}{$place} = $task }
  else { $self->{durable} = 0 }
}

# Waits for all that was begun, together; answers place => what its function printed, of those that succeeded.
sub settle ($self) {
  my %begun = %{ $self->{begun} };
  $self->{begun} = {};
  Breakglass::Task::await(undef, values %begun);
  my %said;
  for my $place (keys %begun) {
    my $end = $begun{$place}{end};
    $said{$place} = $begun{$place}->text if $end eq 'answered';
    $self->{durable} = 0 if $end ne 'answered';
    $self->{hung}{$place} = 1 if $end eq 'hung';
  }
  return %said;
}

# --- the log: one line each, the caller's words encoded so that they cannot forge another -----------------------------------

sub log ($self, $event, $call) {
  my $said = $call->{said};
  my $line = join ' ', timestamp(), $event, 'vmid=' . ($call->{vmid} // '-'), "verb=$call->{verb}", 'job=' . ($call->{job} // '-'),
    'from=' . ($call->{client} =~ s/[^0-9a-fA-F.:]/?/gr || '-'), 'length=' . length $said,
    'said=' . Breakglass::Json::string(substr $said, 0, $limit->{said_chars_max});
  my $path = $self->{settings}{log};
  $self->begin(log => sub {
    rename $path, "$path.1" if (-s $path // 0) > $limit->{log_bytes_max};
    append($path, O_CREAT, "$line\n");
  });
}

# --- the journal: a file for each job, which says after a crash of this host how far it had come -------------------------------

# Prints what is there already under this id, if anything is; else writes the first line.
sub claim_record ($self, $id, $line) {
  my $path = $self->record_path($id);
  $self->begin(journal => sub {
    return print read_whole($path) if -e $path;
    make_folders($path);
    append_durably($path, O_CREAT | O_EXCL, "$line\n");
    sync_folder($path);
  });
}

sub add_to_record ($self, $id, $line) {
  my $path = $self->record_path($id);
  $self->begin(journal => sub { append_durably($path, O_CREAT, "$line\n") });
}

# What the record of a job says; '' when there is none, undef when that cannot be read in time.
sub record ($self, $id) {
  my $path = $self->record_path($id);
  return Breakglass::Task->answer_of($limit->{disk_ms}, sub { print read_whole($path) if -e $path });
}

sub prune_records ($self, $id) {
  my $path = $self->record_path($id);
  $self->begin(journal => sub { unlink too_many($limit->{records_kept_max}, $path) });
}

sub record_path ($self, $id) { "$self->{settings}{state}/jobs/$id" }

# --- evidence ----------------------------------------------------------------------------------------------------------------

# files: name => bytes; copies: name => path.
sub keep_evidence ($self, $id, $files, $copies) {
  my $folder = "$self->{settings}{state}/forensics";
  $self->begin(journal => sub {
    make_folders("$folder/$id/verdict");
    append_durably("$folder/$id/$_", O_CREAT, $files->{$_}) for sort keys %$files;
    append_durably("$folder/$id/$_", O_CREAT, read_whole($copies->{$_})) for sort keys %$copies;
    sync_folder("$folder/$id");
    require File::Path;
    File::Path::remove_tree(too_many($limit->{forensics_kept_max}, "$folder/$id"));
  });
}

# ---------------------------------------------------------------------------------------------------------------------------

# Half a line that a full disk has left does not become the beginning of this one.
sub append ($path, $flags, $text) {
  sysopen my $out, $path, O_WRONLY | O_APPEND | $flags, 0600 or die "$path: $!\n";
  $text = "\n$text" if ends_half($path);
  my $written = syswrite $out, $text;
  die "$path: " . (defined $written ? 'cut off' : $!) . "\n" if ($written // -1) != length $text;
  return $out;
}

sub ends_half ($path) {
  return 0 unless -s $path;
  open my $in, '<:raw', $path or return 0;
  sysseek $in, -1, SEEK_END;
  sysread $in, my $last, 1;
  return $last ne "\n";
}

sub append_durably ($path, $flags, $text) { append($path, $flags, $text)->sync or die "$path: $!\n" }

sub sync_folder ($path) {
  my $folder = $path =~ s{/[^/]*\z}{}r;
  open my $handle, '<', $folder or die "$folder: $!\n";
  $handle->sync or die "$folder: $!\n";
}

sub make_folders ($path) {
  require File::Path;
  File::Path::make_path($path =~ s{/[^/]*\z}{}r, { mode => 0700 });
}

sub read_whole ($path) {
  open my $in, '<:raw', $path or die "$path: $!\n";
  local $/;
  return readline($in) // '';
}

# What lies beside $own beyond so many, the oldest. Never $own: were the clock set back, it would look old.
sub too_many ($kept, $own) {
  my @paths = grep { $_ ne $own } glob $own =~ s{[^/]*\z}{*}r;
  return () if @paths < $kept;
  my %age = map { $_ => -M $_ // 0 } @paths;
  my @sorted = sort { $age{$a} <=> $age{$b} || $b cmp $a } @paths;
  return @sorted[$kept - 1 .. $#sorted];
}

1;
