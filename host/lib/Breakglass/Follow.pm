package Breakglass::Follow;
# Hands a job's steps on to a caller, from a number on, as they happen, and ends with the job's code. It only reads: whatever
# becomes of the caller, the job does not notice.
use v5.36;
use warnings FATAL => 'all';
use IO::Poll qw(POLLERR POLLHUP POLLIN);
use Breakglass::Job;
use Breakglass::Steps qw(ending_of sentence_of whole_steps);
use Breakglass::Task;
use Breakglass::Worker;

my $between_workers_ms = 50;   # a worker is dead and somebody else looks after its job

sub follow ($job, $call, $from, $printer) {
  while (1) {
    my $code;
    if (!$job->lock_alive) {
      # Its worker lives, or somebody else looks after it.
      $code = hand_on_live($job, \$from, $printer);
      Breakglass::Task::nap($between_workers_ms) unless defined $code;
    } elsif (defined $job->ending) {
      $job->release;
      $code = hand_on_ended($job, \$from, $printer, $job->ending);
    } else {
      my $ending = Breakglass::Worker::look_after($job, $call);
      $code = hand_on_ended($job, \$from, $printer, $ending) if defined $ending;
    }
    return $code if defined $code;
  }
}

# To the final step, whose code it answers, or to the worker's death.
sub hand_on_live ($job, $from, $printer) {
  return undef unless -e $job->steps_path;
  my $death = Breakglass::Task->begin(run => sub { $job->await_death });
  # Fatal, it would be so in the child that should have become tail, and not here.
  no warnings 'exec';
  # GNU tail waits for the file's own events; it ends with us.
  my $tail = open my $in, '-|', 'tail', '-c', '+1', '-f', "--pid=$$", '--', $job->steps_path or die "tail: $!\n";
  my ($text, $code) = ('');
  my $caller_listens = 1;
  until (defined $code) {
    (my $has_words, $caller_listens) = await_any($in, $death->{pipe});
    last unless $has_words && $caller_listens;
    sysread $in, $text, 65_536, length $text or last;
    $code = hand_on(\$text, $from, $printer);
  }
  $death->give_up;
  kill TERM => $tail;
  close $in;
  exit 0 unless $caller_listens;
  return $code;
}

# Its output may no longer be kept, or could not be: the final step is handed on in any case.
sub hand_on_ended ($job, $from, $printer, $ending) {
  my $text = Breakglass::Job::slurp($job->steps_path);
  return hand_on(\$text, $from, $printer) // $printer->show([sentence_of($ending)], $ending);
}

# Takes whole steps off a text; answers the code when the final one is among them.
sub hand_on ($text, $from, $printer) {
  for (whole_steps($text)) {
    my ($lines, $line) = @$_;
    my ($seq) = $line =~ /^\{"seq":(\d+)/;
    next if $seq < $$from && !defined ending_of($line);
    my $code = $printer->show($lines, $line);
    return $code if defined $code;
    $$from = $seq + 1;
  }
  return undef;
}

# Waits for the job's next words, its worker's death or the caller's; answers whether there are words, and whether anybody listens.
sub await_any ($in, $death) {
  my $poll = IO::Poll->new;
  $poll->mask($in => POLLIN);
  $poll->mask($death => POLLIN);
  $poll->mask(\*STDOUT => POLLHUP);
  1 while $poll->poll < 0 && $!{EINTR};
  return ($poll->events($in) != 0, ($poll->events(\*STDOUT) & (POLLHUP | POLLERR)) == 0);
}

1;
