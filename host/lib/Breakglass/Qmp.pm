package Breakglass::Qmp;
# QEMU's monitor. It admits one client at a time, so every connection is short; it may be silent for ever, so each is made in
# a child with a limit. A command that timed out may still be carried out.
use v5.36;
use warnings FATAL => 'all';
use Breakglass::Json qw(object);
use Breakglass::Task;

# A task that asks these in turn, [name, arguments...]; it prints a line for each answer: the name, a tab, QEMU's own JSON.
sub ask ($path, $limit_ms, @commands) {
  return Breakglass::Task->begin(limit_ms => $limit_ms, run => sub { converse($path, sub {}, @commands) });
}

# The answers that have come, name => JSON.
sub answers ($task) { return map { /^([\w-]+)\t(.*)$/ ? ($1 => $2) : () } split /\n/, $task->text }

# What query-status says, or undef.
sub status_word ($task) {
  my %answers = answers($task);
  return ($answers{'query-status'} // '') =~ /"status": ?"([a-z-]{1,40})"/ ? $1 : undef;
}

# In a child. on_answer(name, JSON) may answer a further command.
sub converse ($path, $on_answer, @commands) {
  require Socket;
  require JSON::PP;
  socket my $qemu, Socket::AF_UNIX(), Socket::SOCK_STREAM(), 0 or die "socket: $!\n";
  connect $qemu, Socket::pack_sockaddr_un($path) or die "$path: $!\n";
  readline $qemu // die "QMP hung up\n";    # its greeting
  my $line = '';
  for my $command (['qmp_capabilities'], @commands) {
    my ($name, @arguments) = @$command;
    my $asked = object(execute => $name, @arguments ? (arguments => {@arguments}) : ());
    syswrite $qemu, "$asked\n";
    # Events come in between.
    do { $line = readline $qemu // die "QMP hung up\n" } until is_answer($line);
    next if $name eq 'qmp_capabilities';
    $line =~ s/\s+\z//;
    print "$name\t$line\n";
    my $further = $on_answer->($name, $line);
    push @commands, $further if ref $further;
  }
}

sub is_answer ($line) {
  my $said = JSON::PP::decode_json($line);
  return exists $said->{return} || exists $said->{error};
}

1;
