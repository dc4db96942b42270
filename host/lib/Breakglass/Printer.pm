package Breakglass::Printer;
# Steps on their way to the caller. In v2 form each whole, as it happens, on stdout. In plain form first the lines for people, as
# they happen, and at the end the machine lines; the closing sentence goes to stderr when it is bad news.
use v5.36;
use warnings FATAL => 'all';
use Breakglass::Steps qw(ending_of);

# v2; with_evidence: plain forensics hands on what was gathered, a plain mutating verb only its course.
sub new ($class, %option) { return bless { later => [], %option }, $class }

# Answers the exit code when this was the final step.
sub show ($self, $lines, $line) {
  my $code = ending_of($line);
  if ($self->{v2}) {
    out(*STDOUT, join '', (map { "$_\n" } @$lines), "BG1 $line\n");
    return $code;
  }
  my @closing = ($code // 0) != 0 && @$lines ? pop @{ $lines = [@$lines] } : ();
  out(*STDOUT, join '', map { "$_\n" } @$lines);
  out(*STDERR, join '', map { "$_\n" } @closing);
  push @{ $self->{later} }, "BG1 $line\n" if $self->{with_evidence} || $line !~ /,"probe":"/;
  out(*STDOUT, join '', @{ $self->{later} }) if defined $code;
  return $code;
}

sub out ($to, $text) {
  while (length $text) {
    my $written = syswrite $to, $text;
    next if !defined $written && $!{EINTR};
    # Nobody listens any more; what happens to the machine does not depend on it.
    return unless defined $written;
    substr $text, 0, $written, '';
  }
}

1;
