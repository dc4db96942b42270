package Breakglass::Steps;
# What a call or a job has to say: numbered steps, each some lines for people closed by one machine line.
use v5.36;
use warnings FATAL => 'all';
use Breakglass::Clock qw(timestamp);
use Breakglass::Json qw(object);
use Exporter 'import';
our @EXPORT_OK = qw(one_line whole_steps ending_of sentence_of);

my %result = (
  0 => 'done', 2 => 'refused', 3 => 'locked', 4 => 'impossible', 5 => 'unknown', 6 => 'off', 7 => 'unkillable',
  8 => 'unverified', 9 => 'nothing', 75 => 'busy',
);

# to: told of every step, (lines for people, machine line).
sub new ($class, %option) { return bless { seq => 0, %option }, $class }

sub say_step ($self, $lines, @facts) {
  my $line = $self->line(@facts);
  $self->{seq}++;
  $self->{to}->($lines, $line);
}

sub line ($self, @facts) {
  return object(seq => $self->{seq}, (map { $_ => $self->{$_} } qw(job verb vmid)), ts => timestamp(), @facts);
}

# The first members of a final step; `ending_of` finds them again.
sub ending ($code, $result = undef) { return (result => $result // $result{$code}, code => $code) }

# The code in a machine line, when it is a final one. Within a JSON string every quote has a backslash before it.
sub ending_of ($line) { return $line =~ /,"result":"\w+","code":(\d+)[,}]/ ? $1 : undef }

# Of a final step.
sub sentence_of ($line) { return $line =~ /,"text":"((?:[^"\\]|\\.)*)"/ ? $1 =~ s/\\(["\\])/$1/gr : '' }

# Takes the whole steps off the front of a text: [lines for people, machine line] each.
sub whole_steps ($text) {
  my @steps;
  while ($$text =~ s/\A((?:(?!BG1 ).*\n)*)BG1 (.*)\n//) {
    my ($lines, $line) = ($1, $2);
    push @steps, [[split /\n/, $lines], $line];
  }
  return @steps;
}

# The last line of something, fit to be shown to a person: printable ASCII only, and not much of it.
sub one_line ($text) {
  my ($last) = $text =~ /([^\n]+)\n*\z/;
  return 'nothing' unless defined $last;
  return substr($last, 0, 200) =~ s/[^\x20-\x7e]/?/gr;
}

1;
