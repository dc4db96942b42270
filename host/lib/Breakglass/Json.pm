package Breakglass::Json;
# Writes one JSON object on one line of printable ASCII. JSON::PP takes 20 ms to load, which every `status` would pay.
use v5.36;
use warnings FATAL => 'all';
use Exporter 'import';
our @EXPORT_OK = qw(object);

# What is a number is told by its name: a guest that prints digits has still printed a string.
my $number = qr/^(?:seq|vmid|code|bytes|version|uptime|pid|pid_\w+|born|vmids|\w+_(?:ms|seconds|max|kept))$/;

# object(name => value, ...): undef is null, a reference to a scalar a truth, to an array or a hash what they are.
sub object (@pairs) {
  my @members;
  while (my ($name, $value) = splice @pairs, 0, 2) { push @members, "\"$name\":" . value($name, $value) }
  return '{' . join(',', @members) . '}';
}

sub value ($name, $value) {
  return 'null' unless defined $value;
  return $$value ? 'true' : 'false' if ref $value eq 'SCALAR';
  return '[' . join(',', map { value($name, $_) } @$value) . ']' if ref $value eq 'ARRAY';
  return object(map { $_ => $value->{$_} } sort keys %$value) if ref $value eq 'HASH';
  return $value if $name =~ $number && $value =~ /\A-?(?:0|[1-9]\d*)(?:\.\d+)?\z/;
  return string($value);
}

my %short = ('"' => '\\"', '\\' => '\\\\', "\n" => '\\n', "\r" => '\\r', "\t" => '\\t');

# Bytes that are no UTF-8 are shown as the code points of Latin-1.
sub string ($bytes) {
  my $text = $bytes;
  utf8::decode($text);
  $text =~ s{([^\x20\x21\x23-\x5b\x5d-\x7e])}{$short{$1} // escaped(ord $1)}ge;
  return "\"$text\"";
}

sub escaped ($point) {
  return sprintf '\\u%04x', $point if $point < 0x10000;
  return sprintf '\\u%04x\\u%04x', 0xd800 + (($point - 0x10000) >> 10), 0xdc00 + (($point - 0x10000) & 0x3ff);
}

1;
