package Breakglass::Verbs;
# What each verb does, and how it knows that it is done: by what is seen, never by an exit code of qm.
use v5.36;
use warnings FATAL => 'all';
use Breakglass::Clock qw(uptime_ms);
use Breakglass::Forensics;
use Breakglass::Machine;
use Breakglass::Pve;
use Breakglass::Qmp;
use Breakglass::Settings;
use Breakglass::Steps qw(ending_of one_line);
use Breakglass::Task;

# settings, verb, vmid, steps, disk; on_phase: told before a phase is entered.
sub new ($class, %with) {
  my $self = bless { on_phase => sub { }, state_before => 'unknown', changed => 0, %with }, $class;
  $self->{machine} = Breakglass::Machine->new($with{settings}, $with{vmid});
  $self->{pve} = Breakglass::Pve->new($with{settings}, $with{vmid});
  return $self;
}

# --- how a verb ends: by an End that is thrown ----------------------------------------------------------------------------------------

sub finish ($self, $code, $text, @facts) { die bless { code => $code, text => $text, facts => \@facts }, 'Breakglass::End' }

# Runs it and answers its End, whatever happens in it.
sub carry_out ($self, $function) {
  eval { $function->(); die "a verb has ended without an end\n" };
  my $end = $@;
  if (ref $end ne 'Breakglass::End') {
    warn $end;
    $end = bless { code => 5, facts => [], text => 'breakglass-host itself broke (' . one_line($end) . '). What became of the machine is unknown: ask for status.' }, 'Breakglass::End';
  }
  eval { $self->{machine}->look; 1 } or $self->{machine}{state} = 'unknown';
  return $end;
}

# The final step's facts.
sub closing ($self, $end) {
  return (Breakglass::Steps::ending($end->{code}), state_before => $self->{state_before}, state_after => $self->{machine}{state},
    pid_before => $self->{pid_before}, pid_after => $self->{machine}{pid}, changed => \$self->{changed},
    forensics_id => $self->{forensics_id}, verdict => $self->{verdict}, holder => $self->{holder},
    durable => \$self->{disk}{durable}, text => $end->{text}, @{ $end->{facts} });
}

sub phase ($self, $phase, @lines) {
  $self->enter($phase);
  $self->say_phase($phase, @lines);
}

sub enter ($self, $phase) { $self->{on_phase}->($phase, map { $_ => $self->{$_} } qw(state_before pid_before forensics_id)) }

sub say_phase ($self, $phase, @lines) {
  $self->{steps}->say_step(\@lines, phase => $phase, state => $self->{machine}{state}, changed => \$self->{changed});
}

# --- status and forensics: they only read ---------------------------------------------------------------------------------------------

# At most 5 s. Every fact by itself: qm says "running" of a QEMU that no longer answers.
sub status ($self) {
  my ($pve, $machine, $limit_ms) = (@$self{qw(pve machine)}, $self->{settings}->ms('status_ms'));
  $self->look_first;
  my $qm = $pve->status($limit_ms);
  my $agent = $pve->agent_ping($limit_ms);
  my $qmp = defined $machine->{pid} ? Breakglass::Qmp::ask($pve->qmp_path, $limit_ms, ['query-status']) : undef;
  my $ha = $pve->is_ha_managed;
  Breakglass::Task::await(undef, grep { defined } $qm, $agent, $qmp, $ha);
  my $text = $qm->text;
  my %fact = (
    qm    => $qm->{end} eq 'answered' ? Breakglass::Pve::word('status', $text) : 'no answer',
    qmp   => $qmp && (Breakglass::Qmp::status_word($qmp) // 'no answer'),
    agent => { answered => 'answers', hung => 'no answer', failed => 'not running' }->{ $agent->{end} },
    lock  => Breakglass::Pve::word('lock', $text),
    ha    => $ha->{end} eq 'answered' ? $ha->text : 'no answer',
  );
  my @lines = (
    'status: ' . state_word($machine->{state}, $fact{qmp} // ''),
    "vm: $self->{vmid}",
    'process: ' . ($machine->{pid} // 'none') . ($machine->{process_state} ? " (state $machine->{process_state})" : ''),
    'qm says: ' . ($fact{qm} // 'nothing') . ', QMP says: ' . ($fact{qmp} // 'nothing'),
    "guest agent: $fact{agent}",
    'lock: ' . ($fact{lock} // 'none'),
    "HA managed: $fact{ha}",
  );
  my @facts = (lines => \@lines, %fact, process_state => $machine->{process_state}, age_seconds => $machine->age_seconds);
  $self->finish(4, 'There is no qm at its place on this host: is this the hypervisor?', @facts) unless $pve->is_there;
  $self->finish(4, "The host cannot answer for VM $self->{vmid}: " . one_line($text), @facts) if Breakglass::Pve::is_impossible($text);
  $self->finish(0, '', @facts);
}

# The process decides between on and off; QMP may know better what kind of on it is.
sub state_word ($state, $qmp) {
  my $is_better = $qmp =~ /^(?:paused|prelaunch|io-error|guest-panicked|internal-error|suspended)$/;
  return $state eq 'running' && $is_better ? $qmp : $state;
}

sub forensics ($self) {
  $self->look_first;
  $self->gather;
  $self->finish(0, "verdict: $self->{verdict}");
}

# --- what changes the machine ---------------------------------------------------------------------------------------------------------

my %does = (reset => \&reset, stop => \&stop, start => \&start, cycle => \&cycle);

# Once the VM is ours.
sub begin_mutating ($self) {
  $self->finish(4, 'There is no qm at its place on this host: is this the hypervisor? Nothing was done.') unless $self->{pve}->is_there;
  $self->look_first;
  $does{ $self->{verb} }->($self);
}

sub busy ($self, $holder) {
  $self->{holder} = $holder;
  eval { $self->look_first };
  $self->finish(75, "Busy: job $holder owns VM $self->{vmid}. Nothing was done here. Wait for it to end, or ask for status.");
}

sub reset ($self) {
  my ($machine, $pve, $vmid) = @$self{qw(machine pve vmid)};
  $self->settle_home if $machine->{state} eq 'stopped';
  $self->finish(9, "VM $vmid is not running, so there is nothing to reset. Nothing was done. Start it instead.") if $machine->{state} eq 'stopped';
  $self->finish(5, "Whether VM $vmid is running cannot be told: process $machine->{pid} does not show what it is. Nothing was done. Ask for status.")
    if $machine->{state} eq 'unknown';
  $self->evidence_first;
  my $stalls = $self->{verdict} eq 'io-stall-suspected';
  $self->phase('resetting', $stalls ? 'Its disk I/O seems to have stalled inside QEMU: a reset keeps that process and will not cure it. A cycle does.' : ());
  my $reset = $pve->act('reset');
  Breakglass::Task::await(uptime_ms() + $self->{settings}->ms('reset_ms'), $reset);
  $pve->end_act($reset);
  $machine->look;
  if ($reset->{end} ne 'answered') {
    $self->settle_refusal($reset->text);
    $self->finish(9, "VM $vmid went off before it could be reset. Start it instead.") if $machine->{state} eq 'stopped';
    $self->finish(5, "The reset was sent, and whether it was carried out is unknown (qm: " . one_line($reset->text) . '). Look at the machine; if it does not come back, cycle.');
  }
  $self->finish(5, 'qm accepted the reset, but the QEMU process is not the one that it was. Ask for status.')
    unless $machine->is_same_as(@$self{qw(pid_before born_before)});
  $self->{changed} = 1;
  $self->phase('reset');
  $self->finish(0, 'The reset was accepted and the same QEMU process goes on. It is cured only when the machine answers again; if it does not, cycle.'
    . ($stalls ? ' Its disk I/O seems to have stalled: cycle is what cures that.' : ''));
}

sub stop ($self) {
  my $vmid = $self->{vmid};
  if ($self->{machine}{state} eq 'stopped') {
    my $doubt = $self->settle_home;
    $self->finish(5, "No process of VM $vmid is here, and whether it runs on another node is unknown: $doubt. Nothing was done. Ask for status.") if $doubt;
    $self->finish(0, "VM $vmid is already off.");
  }
  $self->evidence_first;
  $self->switch_off;
  $self->finish(0, "VM $vmid is off: its process is gone.");
}

sub start ($self) {
  my $vmid = $self->{vmid};
  $self->finish(0, "VM $vmid is already running." . $self->in_what_way) if $self->{machine}{state} eq 'running';
  $self->settle_home if $self->{machine}{state} eq 'stopped';
  $self->evidence_first;
  my ($seen, $said) = $self->switch_on($self->{settings}->ms('start_ms'));
  $self->settle_start($seen, $said);
  $self->settle_refusal($said);
  $self->finish(6, "VM $vmid is OFF: it did not start (qm: " . one_line($said) . '). Mend that and start it again.');
}

sub cycle ($self) {
  $self->settle_home if $self->{machine}{state} eq 'stopped';
  $self->evidence_first;
  if ($self->{machine}{state} eq 'stopped') { $self->say_phase('off', "VM $self->{vmid} is already off.") }
  else { $self->switch_off }
  $self->start_until_it_runs;
}

# The rest of a cycle whose worker died in this phase. What that one began goes on without it, and two at once would only be in each
# other's way.
sub go_on_after_death ($self, $phase) {
  $self->await_left_stop if $phase eq 'stopping';
  $self->{changed} = 1;
  $self->{machine}->look;
  $self->phase('starting', 'The worker of this cycle died with the machine off; another one goes on and starts it.');
  # A stop that has nothing left to do still holds qm's own lock.
  $self->nap_while($self->{settings}->ms('stop_linger_ms'), sub { defined $self->{pve}->under_way('stop') });
  $self->nap_while(undef, sub { defined $self->{pve}->under_way('start') });
  $self->settle_start($self->runs_within($self->{settings}->ms('verify_ms')), '') if $self->{machine}->look eq 'running';
  $self->start_until_it_runs;
}

# Comes back when the qm stop of a dead worker has switched the machine off. It is never sent again.
sub await_left_stop ($self) {
  my ($machine, $pve, $settings) = @$self{qw(machine pve settings)};
  $machine->look;
  $self->phase('stopping', 'The worker of this cycle died while it was stopping the machine; another one waits for the qm stop that it began.');
  $self->nap_while($settings->ms('stop_ms'), sub { $machine->look ne 'stopped' && defined $pve->under_way('stop') });
  $self->died_in('stopping') if $machine->look ne 'stopped';
  $self->{changed} = 1;
  $self->phase('off', "VM $self->{vmid} is off.");
}

# For so long at most (undef: however long it takes).
sub nap_while ($self, $limit_ms, $holds) {
  my $deadline = defined $limit_ms ? uptime_ms() + $limit_ms : undef;
  while ($holds->() && !(defined $deadline && uptime_ms() > $deadline)) {
    Breakglass::Task::nap($self->{settings}->pause_ms('verify_apart_ms'));
  }
}

# Nothing but the last failed start ends this with the machine off.
sub start_until_it_runs ($self) {
  my @pauses_ms = $self->{settings}->start_pauses_ms;
  my $said;
  for my $try (1 .. @pauses_ms) {
    Breakglass::Task::nap($pauses_ms[$try - 1]);
    # No deadline: it waits for qm start's own end.
    (my $seen, $said) = eval { $self->switch_on(undef) };
    ($seen, $said) = ('off', "breakglass-host: $@") if $@;
    $self->settle_start($seen, $said);
    # A machine that we found off is none that we have switched off.
    $self->settle_refusal($said) if $self->{state_before} eq 'stopped';
    $self->say_phase('off', "Start $try of " . @pauses_ms . ' failed: ' . one_line($said));
  }
  $self->finish(6, "VM $self->{vmid} is OFF: " . @pauses_ms . ' starts failed (qm: ' . one_line($said) . '). Mend that and start it.');
}

# Of a job that ended with its worker.
sub died_in ($self, $phase) {
  my $machine = $self->{machine};
  $machine->look;
  @$self{qw(state_before pid_before)} = @$machine{qw(state pid)} if $self->{state_before} eq 'unknown';
  $self->{changed} = ($self->{pid_before} // 0) != ($machine->{pid} // 0) ? 1 : 0;
  $self->finish(5, "The worker of this job died in phase '$phase' and left no result. What it had begun may still go on. Ask for status before anything else.");
}

# --- off ------------------------------------------------------------------------------------------------------------------------------

# Comes back only when the process is gone.
sub switch_off ($self) {
  my ($machine, $settings, $vmid) = @$self{qw(machine settings vmid)};
  $self->phase('stopping', "Stopping VM $vmid (process " . ($machine->{pid} // 'not known') . ').');
  my $stop = $self->{pve}->act('stop');
  my $deadline = uptime_ms() + $settings->ms('stop_ms');
  my ($ended_at, $gone_at);
  while (1) {
    Breakglass::Task::await(uptime_ms() + $settings->pause_ms('look_ms'), $stop);
    Breakglass::Task::nap($settings->pause_ms('look_ms')) if defined $ended_at;
    $machine->look;
    my $now = uptime_ms();
    $ended_at //= $now if defined $stop->{end};
    if ($machine->{state} ne 'stopped') { $gone_at = undef }
    elsif (!defined $gone_at) {
      $gone_at = $now;
      # At once: should we die now, the machine is one to be started.
      $self->enter('off');
    }
    if (defined $gone_at) {
      last if defined $ended_at || $now - $gone_at > $settings->ms('stop_linger_ms');
    } elsif (defined $ended_at) {
      my $text = $stop->text;
      $self->settle_refusal($text);
      # An HA-managed VM is only queued: killing it behind the manager's back would have it started again.
      if (Breakglass::Pve::is_queued_by_ha($text)) {
        $self->finish(5, "HA was asked to stop VM $vmid and has not done so in time. It may still do it. Ask for status.") if $now > $deadline;
      } elsif ($now - $ended_at > $settings->ms('stop_grace_ms')) {
        last if $self->kill_it;
      }
    } elsif ($now > $deadline) {
      last if $self->kill_it;
    }
  }
  # Only a stop is ever ended like this: it has nothing left to do, and would hold qm's own lock against the start.
  eval { $self->{pve}->end_act($stop); 1 } or warn $@;
  $self->{changed} = 1;
  $self->enter('off') unless defined $gone_at;
  $self->say_phase('off', "VM $vmid is off.");
}

# The last resort, and only on the process that was this VM's from the beginning. True when it is gone.
sub kill_it ($self) {
  my ($machine, $settings, $vmid) = @$self{qw(machine settings vmid)};
  return 1 if $machine->look eq 'stopped';
  $self->finish(5, "VM $vmid did not stop, and its process cannot be told for certain, so nothing was killed. Ask for status.")
    unless $machine->is_same_as(@$self{qw(pid_before born_before)});
  $self->say_phase('stopping', "qm stop did not end process $machine->{pid}: killing it.");
  kill KILL => $machine->{pid};
  my $deadline = uptime_ms() + $settings->ms('kill_ms');
  while ($machine->look ne 'stopped') {
    $self->finish(7, "Process $machine->{pid} of VM $vmid cannot be killed (state " . ($machine->{process_state} // 'unknown')
      . "). It was neither unlocked nor started. The host's storage or the host itself needs mending.") if uptime_ms() > $deadline;
    Breakglass::Task::nap($settings->pause_ms('look_ms'));
  }
  return 1;
}

# --- on -------------------------------------------------------------------------------------------------------------------------------

# One qm start, waited for up to $limit_ms (undef: to its own end) and never killed. Answers what is seen, and what qm said:
# "on", "off", "unverified", "queued" (by HA) or "under way".
sub switch_on ($self, $limit_ms) {
  my ($machine, $settings) = @$self{qw(machine settings)};
  $self->phase('starting', "Starting VM $self->{vmid}.");
  my $start = $self->{pve}->act('start');
  if (!Breakglass::Task::await(uptime_ms() + $settings->ms('start_ms'), $start)) {
    $machine->look;
    $self->tell_hung_start($start);
    return ('under way', $start->text) if defined $limit_ms;
    Breakglass::Task::await(undef, $start);
  }
  my $said = $start->text;
  my $is_queued = $start->{end} eq 'answered' && Breakglass::Pve::is_queued_by_ha($said);
  my $seen = $self->runs_within($settings->ms($is_queued ? 'ha_ms' : 'verify_ms'), $start->{end} ne 'answered');
  $self->{changed} = 1 if $seen ne 'off';
  return ($is_queued && $seen eq 'off' ? 'queued' : $seen, $said);
}

# "on" once /proc shows the process and QMP that it is past prelaunch. A start that failed is believed when nothing is there.
sub runs_within ($self, $limit_ms, $has_failed = 0) {
  my ($machine, $settings) = @$self{qw(machine settings)};
  my $deadline = uptime_ms() + $limit_ms;
  while (1) {
    $machine->look;
    if ($machine->{state} eq 'running') {
      my $asked = Breakglass::Qmp::ask($self->{pve}->qmp_path, $Breakglass::Settings::limit{ask_ms}, ['query-status']);
      Breakglass::Task::await(undef, $asked);
      $self->{qmp_says} = Breakglass::Qmp::status_word($asked) // 'nothing';
      return 'on' if $self->{qmp_says} eq 'running';
    } elsif ($machine->{state} eq 'stopped' && $has_failed) {
      return 'off';
    }
    last if uptime_ms() > $deadline;
    Breakglass::Task::nap($settings->pause_ms('verify_apart_ms'));
  }
  return $machine->{state} eq 'stopped' ? 'off' : 'unverified';
}

# Comes back only when the machine is off.
sub settle_start ($self, $seen, $said) {
  my ($vmid, $pid) = ($self->{vmid}, $self->{machine}{pid});
  if ($seen eq 'on') {
    $self->say_phase('running');
    $self->finish(0, "VM $vmid is running.") if $self->{verb} eq 'start';
    $self->finish(0, "VM $vmid was off and is running again, in a new process (" . ($self->{pid_before} // 'none') . " before, $pid now).");
  }
  $self->finish(8, "VM $vmid was started and is not seen running after " . int($self->{settings}->ms('verify_ms') / 1000)
    . " s (QMP says: $self->{qmp_says}). Ask for status; if it stays so, cycle.") if $seen eq 'unverified';
  if ($seen eq 'queued') {
    $self->settle_home;
    $self->finish(5, "HA was asked to start VM $vmid and has not done so in time: the machine is off now. It may still be started. Ask for status.");
  }
  $self->finish(5, 'qm start has been under way for ' . int($self->{settings}->ms('start_ms') / 1000)
    . " s and is left to it. Whether VM $vmid will start is unknown: ask for status.") if $seen eq 'under way';
}

# On hung storage a start hangs without a pid file while a QEMU lives.
sub tell_hung_start ($self, $start) {
  my $pid = $self->{machine}{pid};
  my $output = "qm start:\n" . Breakglass::Forensics::threads($start->{pid}) . (defined $pid ? "QEMU $pid:\n" . Breakglass::Forensics::threads($pid) : "no QEMU\n") . $start->text;
  $self->{steps}->say_step(['qm start is still under way after ' . int($self->{settings}->ms('start_ms') / 1000) . ' s; it is not ended.'],
    probe => 'start', end => 'hung', output => substr($output, 0, $Breakglass::Settings::limit{output_bytes_max}), bytes => length $output);
}

# --- what several verbs need ------------------------------------------------------------------------------------------------------------

sub look_first ($self) {
  my $machine = $self->{machine};
  $machine->look;
  @$self{qw(state_before pid_before born_before)} = @$machine{qw(state pid born)};
}

# What a dead worker knew.
sub remember ($self, %facts) { $self->{$_} = $facts{$_} for grep { defined $facts{$_} } keys %facts }

sub evidence_first ($self) {
  $self->phase('forensics', 'Gathering evidence first (at most ' . int($self->{settings}->ms('forensics_ms') / 1000) . ' s).');
  eval { $self->gather; 1 } and return;
  warn $@;
  $self->{verdict} //= 'inconclusive: the evidence could not be gathered';
}

sub gather ($self) {
  @$self{qw(verdict forensics_id)} = Breakglass::Forensics::gather(map { $_ => $self->{$_} } qw(settings pve machine steps disk));
}

# With no process here: ends the verb when the VM lives on another node or nowhere; answers why that is unknown, if it is.
sub settle_home ($self) {
  my ($where, $detail) = $self->{pve}->home;
  my $did = $self->{changed} && $self->{state_before} ne 'stopped' ? 'It was stopped here. Ask that node for its status.' : 'Nothing was done here. Send this to that node.';
  $self->finish(4, "VM $self->{vmid} lives on node $detail, not on this host. $did") if $where eq 'elsewhere';
  $self->finish(4, "The host cannot do that to VM $self->{vmid}: $detail") if $where eq 'nowhere';
  return $where eq 'unknown' ? $detail : '';
}

# Ends the verb when qm refused for a reason of the hypervisor's own.
sub settle_refusal ($self, $text) {
  my ($code, $sentence, $holder) = $self->{pve}->refusal($text) or return;
  $self->settle_home if $code == 4;
  $self->{holder} = $holder;
  $self->finish($code, $sentence);
}

# Of a machine that is running already and was not touched.
sub in_what_way ($self) {
  my ($pve, $limit_ms) = ($self->{pve}, $self->{settings}->ms('status_ms'));
  my ($qm, $qmp) = ($pve->status($limit_ms), Breakglass::Qmp::ask($pve->qmp_path, $limit_ms, ['query-status']));
  Breakglass::Task::await(undef, $qm, $qmp);
  my $lock = Breakglass::Pve::word('lock', $qm->text);
  my $says = Breakglass::Qmp::status_word($qmp) // 'nothing';
  return (defined $lock ? " It is locked by the hypervisor ($lock)." : '') . ($says ne 'running' ? " Its QMP says: $says." : '');
}

1;
