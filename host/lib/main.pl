#!/usr/bin/perl
# What the gate lets through: CONFIG VERB VMID JOB FROM PINNED... ('' where there is none). VERB may also be refused, hello, attach.
use v5.36;
use warnings FATAL => 'all';
use Breakglass::Clock qw(boot_id);
use Breakglass::Disk;
use Breakglass::Job;
use Breakglass::Printer;
use Breakglass::Settings;
use Breakglass::Steps;
use Breakglass::Task;

my $version = 2;
my %is_mutating = map { $_ => 1 } qw(reset stop start cycle);

my ($config, $verb, $vmid, $job, $from, @pinned) = @ARGV;
my %call = (
  verb => $verb, vmid => $vmid eq '' ? undef : $vmid, job => $job eq '' ? undef : $job,
  said => delete $ENV{SSH_ORIGINAL_COMMAND} // '', client => (split / /, delete $ENV{SSH_CONNECTION} // '')[0] // '',
);
my $is_v2 = $call{said} =~ /^v2 /;
my $printer = Breakglass::Printer->new(v2 => $is_v2 && $verb ne 'refused', with_evidence => $verb eq 'forensics');
exit(eval { main() } // close_at_once(5, 'breakglass-host itself broke (' . Breakglass::Steps::one_line($@) . '). Ask for status.'));

sub main () {
  for my $id (@pinned) {
    return close_at_once(4, "This key's forced command names a VM id that is none. Mend authorized_keys.") unless $id =~ /\A[1-9][0-9]{2,8}\z/;
  }
  return close_at_once(4, "This key's forced command names no VM id. Mend authorized_keys.") unless @pinned;
  my $settings = $call{settings} = eval { Breakglass::Settings->read($config) } or return close_at_once(4, $@ =~ s/\n//r);

  return refuse($settings) if $verb eq 'refused';
  $Breakglass::Task::folder = $settings->{run};
  eval { Breakglass::Job::prepare($settings); 1 }
    or return close_at_once(4, 'The folder for jobs and locks cannot be used on this host. Nothing was done. Is its memory full?');
  revive_any($_) for @pinned;
  return hello($settings) if $verb eq 'hello';
  return attach($settings) if $verb eq 'attach';
  return submit($settings) if $is_mutating{$verb};
  return look_only($settings);
}

# --- one function for each kind of call ----------------------------------------------------------------------------------------------

sub refuse ($settings) {
  @call{qw(verb vmid job)} = ('-', undef, undef);
  my $disk = Breakglass::Disk->new($settings);
  $disk->log('refused', \%call);
  $disk->settle;
  $call{verb} = undef;
  my $form = @pinned == 1 ? '<verb>' : '<verb> <vmid>';
  return close_at_once(2, "Refused: that is not one of this key's commands. Nothing was done. "
    . "Send exactly $form, the verb being one of status, forensics, reset, stop, start, cycle.");
}

sub hello ($settings) {
  require Breakglass::Pve;
  my %limits = $settings->limits;
  return close_at_once(0, "breakglass-host $version, backend $Breakglass::Pve::name, VM ids @pinned.",
    version => $version, backend => $Breakglass::Pve::name, vmids => [@pinned], jobs => \1, journal_seconds => Breakglass::Job::journal_seconds($settings),
    forensics_kept => $limits{forensics_kept_max}, limits => \%limits);
}

# status and forensics: here and now, for this caller only.
sub look_only ($settings) {
  require Breakglass::Verbs;
  my $disk = Breakglass::Disk->new($settings);
  $disk->log('asked', \%call);
  my $steps = new_steps();
  my $verbs = Breakglass::Verbs->new(settings => $settings, verb => $verb, vmid => $vmid, steps => $steps, disk => $disk);
  my $end = $verbs->carry_out(sub { $verb eq 'status' ? $verbs->status : $verbs->forensics });
  $disk->settle;
  Breakglass::Job::sweep($settings) if $verb eq 'forensics';
  my %facts = @{ $end->{facts} };
  my $lines = delete $facts{lines} // [];
  $end->{facts} = [map { $_ => $facts{$_} } sort keys %facts];
  return finish($steps, [@$lines, $end->{text}], $verbs->closing($end));
}

sub submit ($settings) {
  require Breakglass::Worker;
  require Breakglass::Follow;
  $call{job} //= new_uuid();
  my $job = Breakglass::Job->claim($settings, id => $call{job}, verb => $verb, vmid => $vmid);
  if ($job) { Breakglass::Worker::begin($job, \%call) }
  else {
    $job = Breakglass::Job->find($settings, $call{job});
    return close_at_once(5, 'A job of this id is just being forgotten. Ask for status.') unless $job;
    return close_at_once(2, "Refused: job $call{job} is another one, '$job->{verb}' of VM $job->{vmid}. Nothing was done.")
      if $job->{verb} ne $verb || $job->{vmid} ne $vmid;
  }
  return follow($job, $from || 0);
}

# That we can no longer tell of a job says nothing about it: it has no final step from us, and the caller attaches anew.
sub follow ($job, $from) {
  my $code = eval { Breakglass::Follow::follow($job, \%call, $from, $printer) };
  return $code if defined $code;
  print STDERR 'breakglass-host cannot follow this job any further (' . Breakglass::Steps::one_line($@) . "); the job does not depend on that. Attach to it again.\n";
  return 255;
}

# Of a VM that is not this key's no job has ever arrived.
sub attach ($settings) {
  require Breakglass::Follow;
  my $job = Breakglass::Job->find($settings, $call{job});
  return follow($job, $from) if $job && is_pinned($job->{vmid});
  my $record = $job ? undef : Breakglass::Disk->new($settings)->record($call{job});
  my ($line, $text) = Breakglass::Job::ending_of_record($record // '', $from);
  if (defined $line && is_pinned(Breakglass::Job::member($line, 'vmid'))) { return $printer->show([$text], $line) }
  $call{vmid} = undef;
  return close_with([9, 'absent'], 'No such job has arrived here.', journal_seconds => Breakglass::Job::journal_seconds($settings));
}

# ---------------------------------------------------------------------------------------------------------------------------

sub revive_any ($id) {
  my $owner = Breakglass::Job::owner_of($call{settings}, $id) // return;
  my $job = Breakglass::Job->find($call{settings}, $owner) // return;
  return if defined $job->ending;
  require Breakglass::Worker;
  Breakglass::Worker::revive_owner(\%call, $id);
}

sub is_pinned ($id) { return grep { $_ eq ($id // '') } @pinned }

sub new_uuid () {
  open my $in, '<', '/proc/sys/kernel/random/uuid' or die "uuid: $!\n";
  chomp(my $uuid = <$in>);
  return $uuid;
}

sub new_steps () { return Breakglass::Steps->new(map({ $_ => $call{$_} } qw(job verb vmid)), to => sub { $printer->show(@_) }) }

sub close_at_once ($code, $text, @facts) { return close_with([$code], $text, @facts) }

sub close_with ($ending, $text, @facts) {
  return finish(new_steps(), [$text], Breakglass::Steps::ending(@$ending), state_before => 'unknown', state_after => 'unknown',
    map({ $_ => undef } qw(pid_before pid_after)), changed => \0, map({ $_ => undef } qw(forensics_id verdict holder)), durable => \1, text => $text, @facts);
}

sub finish ($steps, $lines, @facts) {
  my $line = $steps->line(@facts);
  return $printer->show([grep { $_ ne '' } @$lines], $line);
}
