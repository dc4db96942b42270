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
    my $code = read_steps($job, \$from, $printer);
    return $code if defined $code;
    if (!$job->lock_alive) {
      Breakglass::Task::nap($between_workers_ms);
      delete $job->{pid};
    } elsif (defined $job->ending) {
      # Told at last, or its output is no longer kept.
      $job->release;
      return read_steps($job, \$from, $printer) // $printer->show([sentence_of($job->ending)], $job->ending);
    } else {
      Breakglass::Worker::look_after($job, $call);
    }
  }
}

# To the final step, whose code it answers, or to the worker's death.
sub read_steps ($job, $from, $printer) {
  my $pid = $job->{pid} // Breakglass::Job::member($job->last_entry, 'pid');
  return undef unless -e $job->steps_path;
  # GNU tail waits for the file's own events; it ends with the worker, at the latest a second after it.
  my $tail = open my $in, '-|', 'tail', '-c', '+1', '-f', '-s', '0.2', ($pid ? "--pid=$pid" : ()), '--', $job->steps_path or die "tail: $!\n";
  my ($text, $code) = ('');
  until (defined $code) {
    last unless caller_listens($in);
    sysread $in, $text, 65_536, length $text or last;
    for (whole_steps(\$text)) {
      my ($lines, $line) = @$_;
      my ($seq) = $line =~ /^\{"seq":(\d+)/;
      $code = ending_of($line);
      next if $seq < $$from && !defined $code;
      $printer->show($lines, $line);
      $$from = $seq + 1;
    }
  }
  kill TERM => $tail;
  close $in;
  return $code;
}

# Waits for something to read. Whoever hung up is told by his end of the channel, where nothing else would show it.
sub caller_listens ($in) {
  my $poll = IO::Poll->new;
  $poll->mask($in => POLLIN);
  $poll->mask(\*STDOUT => POLLHUP);
  1 while $poll->poll < 0 && $!{EINTR};
  exit 0 if $poll->events(\*STDOUT) & (POLLHUP | POLLERR);
  return 1;
}

1;
