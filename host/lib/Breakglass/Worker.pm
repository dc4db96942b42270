package Breakglass::Worker;
# Carries a job out, in a process that no connection can end.
use v5.36;
use warnings FATAL => 'all';
use IO::Handle ();
use Breakglass::Clock qw(boot_id uptime_seconds);
use Breakglass::Disk;
use Breakglass::Job;
use Breakglass::Settings;
use Breakglass::Steps qw(ending_of sentence_of);
use Breakglass::Task;
use Breakglass::Verbs;

# The phases of a cycle in which the machine is off by our doing, or will be.
my %is_off_in = (stopping => 1, off => 1, starting => 1);
# Looks at who owns the VM, until that is known; then it is nobody that we know.
my ($owner_looks_max, $owner_looks_apart_ms) = (20, 50);

# Carries out a job that was just claimed, or what is left of a cycle whose worker died.
sub begin ($job, $call, $is_left = 0) {
  local @SIG{qw(HUP INT TERM)} = ('IGNORE') x 3;
  my $pid = fork // die "fork: $!\n";
  if ($pid) {
    # The worker has them now.
    $job->release;
    return;
  }
  require POSIX;
  POSIX::setsid();
  $SIG{$_} = 'IGNORE' for qw(HUP PIPE INT TERM);
  # The caller's own children are not ours.
  $SIG{CHLD} = 'DEFAULT';
  chdir '/';
  eval {
    open STDIN, '<', '/dev/null' or die "$!\n";
    open STDOUT, '>>', "$job->{folder}/errors" or open STDOUT, '>', '/dev/null' or die "$!\n";
    open STDERR, '>&', \*STDOUT or die "$!\n";
    carry_out($job, $call, $is_left);
    1;
  } or warn $@;
  exit 0;
}

sub carry_out ($job, $call, $is_left) {
  my $disk = Breakglass::Disk->new($call->{settings});
  my $steps = Breakglass::Steps->new(seq => $is_left ? $job->mend_steps : 0, job => $job->{id}, verb => $job->{verb}, vmid => $job->{vmid},
    to => sub ($lines, $line) { $job->add_step(join '', map { "$_\n" } @$lines, "BG1 $line") or $disk->{durable} = 0 });
  my $verbs = Breakglass::Verbs->new(
    settings => $call->{settings}, verb => $job->{verb}, vmid => $job->{vmid}, steps => $steps, disk => $disk,
    on_phase => sub ($phase, %facts) { enter_phase($job, $call, $disk, $phase, %facts) },
  );
  my $end;
  if ($is_left) {
    my $phase = Breakglass::Job::member($job->last_entry, 'phase');
    $verbs->remember(map { $_ => Breakglass::Job::member($job->last_entry, $_) } qw(state_before pid_before forensics_id));
    $end = $verbs->carry_out(sub { $verbs->go_on_after_death($phase) });
  } else {
    $end = $verbs->carry_out(sub {
      $verbs->phase('asked');
      my $holder = own_vm_or_name($job);
      $verbs->busy($holder) if defined $holder;
      $verbs->begin_mutating;
    });
  }
  close_job($job, $call, $disk, $steps, $verbs, $end);
}

# Before anything is done in this phase, it is written down.
sub enter_phase ($job, $call, $disk, $phase, %facts) {
  my $entry = $job->entry($phase, %facts);
  $job->note($entry) or $disk->{durable} = 0;
  if ($phase eq 'asked') {
    $disk->claim_record($job->{id}, $entry);
    $disk->log('asked', $call);
    my %said = $disk->settle;
    # A job of an earlier boot of this host: what became of it is all that there is to say.
    my ($line, $text) = Breakglass::Job::ending_of_record($said{journal} // '', 0) or return;
    die bless { code => 2, text => "Refused: job $job->{id} is another one. Nothing was done.", facts => [] }, 'Breakglass::End'
      if grep { Breakglass::Job::member($line, $_) ne $job->{$_} } qw(verb vmid);
    die bless { line => $line, text => $text }, 'Breakglass::End';
  } else {
    $disk->add_to_record($job->{id}, $entry);
    $disk->settle;
  }
}

# The final step: on disk, then in the journal, then told. The VM is free before anybody hears that it is.
sub close_job ($job, $call, $disk, $steps, $verbs, $end) {
  my $line = $end->{line} // $steps->line($verbs->closing($end));
  $disk->add_to_record($job->{id}, $line) unless defined $end->{line};
  $disk->log('ended:' . ending_of($line), $call);
  $disk->settle;
  my $as_kept = sub { $disk->{durable} || defined $end->{line} ? $line : $line =~ s/"durable":true/"durable":false/r };
  $job->note($as_kept->()) or $disk->{durable} = 0;
  $line = $as_kept->();
  $job->release_vm;
  $job->add_step("$end->{text}\nBG1 $line\n");
  Breakglass::Job::prune($call->{settings});
  $disk->prune_records($job->{id});
  $disk->settle;
  return $line;
}

# The id of the job that owns the VM, at once; undef when we do. An owner that has ended is about to let go, and one that has just
# begun writes its id right after it has the lock.
sub own_vm_or_name ($job) {
  for (1 .. $owner_looks_max) {
    return undef if $job->own_vm;
    my $id = Breakglass::Job::owner_of($job->{settings}, $job->{vmid});
    my $owner = defined $id ? Breakglass::Job->find($job->{settings}, $id) : undef;
    return $id if $owner && !defined $owner->ending;
    Breakglass::Task::nap($owner_looks_apart_ms);
  }
  return 'another job';
}

# --- jobs whose worker is dead ---------------------------------------------------------------------------------------------------

# Any call looks whether a cycle has died that leaves its VM off.
sub revive_owner ($call, $vmid) {
  my $id = Breakglass::Job::owner_of($call->{settings}, $vmid) // return;
  my $job = Breakglass::Job->find($call->{settings}, $id) // return;
  return if !may_be_revived($job) || !$job->lock_alive;
  # The job may have been looked after before we had it.
  may_be_revived($job) ? look_after($job, $call) : $job->release;
}

# With `alive` in our hands, and no final step: starts a worker where that is right, else writes and answers the final step.
sub look_after ($job, $call) {
  my $disk = Breakglass::Disk->new($call->{settings});
  # Where memory is full it may have an ending on disk only.
  my $kept = (Breakglass::Job::entries_of($disk->record($job->{id}) // ''))[-1] // '';
  my $has_ended = defined ending_of($kept);
  if (!$has_ended && may_be_revived($job) && $job->own_vm) { begin($job, $call, 1); return undef }
  my $steps = Breakglass::Steps->new(seq => $job->mend_steps, job => $job->{id}, verb => $job->{verb}, vmid => $job->{vmid}, to => sub { });
  my $verbs = Breakglass::Verbs->new(settings => $call->{settings}, verb => $job->{verb}, vmid => $job->{vmid}, steps => $steps, disk => $disk);
  my $phase = Breakglass::Job::member($job->last_entry, 'phase') // 'claimed';
  $verbs->remember(map { $_ => Breakglass::Job::member($job->last_entry, $_) } qw(state_before pid_before forensics_id));
  my $end = $has_ended ? { line => $kept, text => sentence_of($kept) } : $verbs->carry_out(sub { $verbs->died_in($phase) });
  my $line = close_job($job, $call, $disk, $steps, $verbs, $end);
  $job->release;
  return $line;
}

# Its age counts from when the machine was first about to be off: another worker's own entries do not renew it.
sub may_be_revived ($job) {
  my @entries = $job->entries;
  return 0 if $job->{verb} ne 'cycle' || defined ending_of($entries[-1] // '');
  my ($first) = grep { $is_off_in{ Breakglass::Job::member($_, 'phase') // '' } } @entries or return 0;
  return 0 if Breakglass::Job::member($first, 'boot_id') ne boot_id();
  return uptime_seconds() - Breakglass::Job::member($first, 'uptime') < $Breakglass::Settings::limit{revive_seconds};
}

1;
