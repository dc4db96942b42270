package Breakglass::Pve;
# The backend: Proxmox VE. How qm is asked, and what its words mean; its exit code only tells zero from not zero.
use v5.36;
use warnings FATAL => 'all';
use Breakglass::Clock qw(uptime_ms);
use Breakglass::Machine;
use Breakglass::Settings;
use Breakglass::Steps qw(one_line);
use Breakglass::Task;

our $name = 'pve';

sub new ($class, $settings, $vmid) { return bless { settings => $settings, vmid => $vmid }, $class }

sub is_there ($self) { -x $self->{settings}{qm} && -f _ }

# What only asks.
sub status ($self, $limit_ms) { $self->begin(['status', $self->{vmid}, '--verbose'], limit_ms => $limit_ms) }
sub config ($self, $limit_ms) { $self->begin(['config', $self->{vmid}], limit_ms => $limit_ms) }
sub pending ($self, $limit_ms) { $self->begin(['pending', $self->{vmid}], limit_ms => $limit_ms) }
sub agent_ping ($self, $limit_ms) { $self->begin(['guest', 'cmd', $self->{vmid}, 'ping'], limit_ms => $limit_ms) }

# What acts. It may outlive us, and it dies of a broken pipe, so that its output is a file.
sub act ($self, $verb) { $self->begin([$verb, $self->{vmid}], into_file => 1) }

# Ends what still goes on. qm works in a session of its own, holds the VM's lock file there, and lives on when qm is killed: so it
# is asked first, and what is left of it is killed with it.
sub end_act ($self, $task) {
  return if $task->has_ended;
  my @all = Breakglass::Machine::descendants($task->{pid});
  kill TERM => $task->{pid};
  Breakglass::Task::await(uptime_ms() + $self->{settings}->ms('qm_end_ms'), $task);
  for (@all) {
    my ($pid, $born) = @$_;
    kill KILL => $pid if ((Breakglass::Machine::state_and_birth($pid))[1] // '') eq $born;
  }
  $task->give_up unless $task->has_ended;
}

sub begin ($self, $words, %option) { Breakglass::Task->begin(run => [$self->{settings}{qm}, @$words], %option) }

sub qmp_path ($self) { $self->{settings}->path('qmp', $self->{vmid}) }

# `key: word` of qm's output, only where the word is one; qm nests with tabs.
sub word ($key, $text) { return $text =~ /^\s*\Q$key\E: ([a-z0-9-]{1,40})$/m ? $1 : undef }

sub has_agent ($config) { $config =~ /^agent:\s*(?:enabled=)?1/m }

# Asked of the cluster's own file, since qm status does not tell; undef where that does not answer.
sub is_ha_managed ($self) {
  my $path = $self->{settings}{nodes} =~ s{/[^/]*\z}{/ha/resources.cfg}r;
  return Breakglass::Task->begin(limit_ms => $Breakglass::Settings::limit{look_at_ms}, run => sub {
    open my $in, '<', $path or return print 'no';
    local $/;
    my ($properties) = readline($in) =~ /^vm: $self->{vmid}\n((?:[ \t].*\n)*)/m;
    print defined $properties && $properties !~ /^\s+state ignored$/m ? 'yes' : 'no';
  });
}

sub is_queued_by_ha ($text) { $text =~ /^Requesting HA (?:start|stop) for VM/m }

# (code, sentence) when qm refused for a reason of the hypervisor's own.
sub refusal ($self, $text) {
  my $vm = "VM $self->{vmid}";
  if ($text =~ /VM is locked \(([a-z-]{1,40})\)/) {
    my $owner = $self->lock_owner;
    return (3, "$vm is locked by the hypervisor ($1), for $owner. Nothing was done. Wait for it to end.", "$1: $owner") if defined $owner;
    return (3, "$vm is locked by the hypervisor ($1), and no task on this host is seen to hold it. Nothing was done. "
      . "If the lock is stale, 'qm unlock $self->{vmid}' on the host removes it; then send this again.", "$1: no task seen");
  }
  return (3, "Another task of the hypervisor holds the lock file of $vm. Nothing was done. See the host's task list.", 'lock file')
    if $text =~ /can't lock file/;
  return (4, "The host cannot do that to $vm: " . one_line($text)) if is_impossible($text);
  return;
}

sub is_impossible ($text) {
  return $text =~ /Configuration file '[^']*' does not exist|unable to find configuration file|no quorum|ipcc_send_rec|cluster not ready/;
}

# Proxmox names its workers so: "task UPID:node:pid:pstart:start:vzdump:102:user:"; a backup of several VMs names none.
sub lock_owner ($self) {
  my $vmid = $self->{vmid};
  my $pid = Breakglass::Machine::find_process(sub (@words) {
    return ($words[0] // '') =~ /^task UPID:[^:]*:.*:(?:vzdump:(?:$vmid)?|(?!qm(?:start|stop|reset):)\w+:$vmid):/;
  }) // return undef;
  my ($task) = (Breakglass::Machine::arguments($pid))[0] =~ /:(\w+):(?:$vmid)?:[^:]*:?$/;
  return ($task // 'a task') . " (process $pid)";
}

# A `qm start` or `qm stop` that somebody began and that still goes on; undef where none is seen.
sub under_way ($self, $verb) {
  my ($qm, $vmid) = ($self->{settings}{qm}, $self->{vmid});
  return Breakglass::Machine::find_process(sub (@words) {
    return 1 if ($words[0] // '') =~ /^task UPID:.*:qm$verb:$vmid:/;
    for my $i (0 .. $#words - 2) { return 1 if $words[$i] eq $qm && $words[$i + 1] eq $verb && $words[$i + 2] eq $vmid }
    return 0;
  });
}

# Where the VM lives: ('here'), ('elsewhere', node), ('nowhere', why) or ('unknown', why). Asked only when no process is here:
# then it may be off, or run on another node.
sub home ($self) {
  my $listed = Breakglass::Task->answer_of($Breakglass::Settings::limit{look_at_ms}, sub { print map { "$_\n" } $self->nodes });
  return ('unknown', 'the cluster file system does not answer') unless defined $listed;
  my @nodes = split /\n/, $listed;
  return ('here') if grep { $_ eq this_node() } @nodes;
  return ('elsewhere', one_line($nodes[0])) if @nodes;
  my $asked = $self->status($self->{settings}->ms('status_ms'));
  Breakglass::Task::await(undef, $asked);
  return ('here') if $asked->{end} eq 'answered';
  return ('unknown', 'qm status does not answer') if $asked->{end} eq 'hung';
  return ('nowhere', one_line($asked->text)) if is_impossible($asked->text);
  return ('unknown', 'qm status says: ' . one_line($asked->text));
}

sub nodes ($self) {
  my $folder = $self->{settings}{nodes};
  opendir my $nodes, $folder or return ();
  return grep { !/^\./ && -e "$folder/$_/qemu-server/$self->{vmid}.conf" } readdir $nodes;
}

# Proxmox demands that a node is called as its host is.
sub this_node () {
  open my $in, '<', '/proc/sys/kernel/hostname' or return '';
  return (split /[.\n]/, readline $in)[0];
}

1;
