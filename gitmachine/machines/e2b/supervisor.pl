# Runs one command for the host and what the host wants to know afterwards, in one request.
#
# Needs a bare perl: every Debian image has one (perl-base is essential, git depends on it). Its argument is the
# call's id; the request is in the environment, as base64 in GM_0, GM_1 and so on: a list of byte strings. They are
# the marker, ids that the host needs no more, offsets in stdout and stderr, cwd, command, standard input, the
# number of environment entries and the entries; then for each step a limit in seconds, script, standard input,
# number of entries, entries. A standard input is "" for none, "=" and its bytes, or "<" and a file, which is removed.
#
# ~/.gitmachine/run/ID is made by whoever comes first, and only he runs the command: to send a request again is
# safe. Who finds it there follows the other one's output from the offsets on. In it are out and err (what the
# command wrote, up to a limit), pid, supervisor, answer, and killed once the host has ended the command.
#
# Writes the command's output as it comes; then the marker and in base64 a list: what happened (exit, cwd, exec,
# lost), a number (exit code or errno), $HOME, 1 when output is missing, and for each step its exit code, 1 when it
# took too long, its stdout and its stderr.
use strict;

my $SPOOL_BYTES = 64 * 1024 * 1024;
my $LOCK_EXCLUSIVE = 2;    # flock(2)
my $NO_HANG = 1;           # waitpid(2)
my $EINTR = 4;

my $id = $ARGV[0];
my $home = $ENV{HOME} || "/";
my $root = "$home/.gitmachine/run";
my $dir = "$root/$id";
my $request = "";
for (my $n = 0; defined $ENV{"GM_$n"}; $n++) { $request .= delete $ENV{"GM_$n"} }
my @queue = unpack "(N/a*)*", decode($request);
my ($marker, $done, $from_out, $from_err, $cwd, $command, $stdin) = splice @queue, 0, 7;
my @env = entries();
my @steps;
while (@queue) {
    my ($limit, $script, $input) = splice @queue, 0, 3;
    push @steps, { limit => $limit, script => $script, stdin => $input, env => [entries()] };
}

$SIG{PIPE} = "IGNORE";
umask 022;
remove("$root/$_") for split " ", $done;
mkdir "$home/.gitmachine";
mkdir $root, 0700;
if (mkdir $dir, 0700) { run() }
elsif (-d $dir) { follow() }
else { $dir = undef; run() }    # a full disk must not keep commands from running
exit 0;

sub entries { my $count = shift @queue; return splice @queue, 0, $count }

sub decode {
    my ($text) = @_;
    $text =~ tr|A-Za-z0-9+/||cd;
    $text =~ tr|A-Za-z0-9+/| -_|;    # the alphabet of pack's "u"
    return join "", map { unpack "u", chr(32 + int(length($_) * 3 / 4)) . $_ } $text =~ /(.{1,60})/gs;
}

sub encode {
    my ($data) = @_;
    my $text = join "", map { my $line = substr pack("u", $_), 1; chop $line; $line } $data =~ /(.{1,45})/gs;
    $text =~ tr|` -_|AA-Za-z0-9+/|;
    my $odd = (3 - length($data) % 3) % 3;
    substr($text, -$odd) = "=" x $odd if $odd;
    return $text;
}

sub write_all {
    my ($to, $data) = @_;
    my $at = 0;
    while ($at < length $data) {
        my $wrote = syswrite $to, $data, length($data) - $at, $at;
        if (defined $wrote) { $at += $wrote }
        elsif ($! != $EINTR) { return 0 }
    }
    return 1;
}

sub keep {    # a small file of the call's directory, whole or not at all
    my ($name, $data) = @_;
    return unless defined $dir;
    open my $file, ">", "$dir/$name.new" or return;
    my $whole = write_all($file, $data);
    close $file;
    rename "$dir/$name.new", "$dir/$name" if $whole;
}

sub remove {
    my ($gone) = @_;
    opendir my $names, $gone or return;
    unlink map { "$gone/$_" } grep { !/^\.\.?$/ } readdir $names;
    closedir $names;
    rmdir $gone;
}

sub give_input {    # to be called in the child
    my ($input) = @_;
    return open STDIN, "<", "/dev/null" if $input eq "";
    my $path = defined $dir ? "$dir/in.$$" : "/tmp/gitmachine.$id.$$";
    if ($input =~ /^</) { $path = substr $input, 1 }
    else {
        open my $file, ">", $path or return 0;
        return 0 unless write_all($file, substr $input, 1) && close $file;
    }
    return open(STDIN, "<", $path) && unlink $path;
}

sub become {    # a shell, with these entries added to the environment
    my ($script, @added) = @_;
    for (@added) { my ($name, $value) = split /=/, $_, 2; $ENV{$name} = $value }
    $SIG{PIPE} = "DEFAULT";
    exec { "/bin/bash" } "bash", "-c", $script;
}

sub status {
    my ($raw) = @_;
    return $raw & 127 ? 128 + ($raw & 127) : $raw >> 8;
}

sub run {
    keep("supervisor", $$);
    pipe my $out, my $out_to;
    pipe my $err, my $err_to;
    pipe my $failed, my $failed_to;    # closed by a successful exec
    my $pid = fork;
    if (!defined $pid) { answer("exec", $! + 0, 0); return }
    if (!$pid) {
        setpgrp 0, 0;
        keep("pid", $$);
        my $fed = give_input($stdin);
        open STDOUT, ">&", $out_to;
        open STDERR, ">&", $err_to;
        if (!$fed) { syswrite $failed_to, "exec " . ($! + 0) }
        elsif (!chdir($cwd =~ m|^/| ? $cwd : "$home/$cwd")) { syswrite $failed_to, "cwd " . ($! + 0) }
        else { become($command, @env); syswrite $failed_to, "exec " . ($! + 0) }
        kill 9, $$;
    }
    close $_ for $out_to, $err_to, $failed_to;
    my $ended = relay($pid, [$out, \*STDOUT, spool("out")], [$err, \*STDERR, spool("err")]);
    sysread $failed, my $failure, 100;
    if ($failure) { my ($what, $number) = split / /, $failure; answer($what, $number, 0) }
    else { answer("exit", status($ended), 0, defined $dir && -e "$dir/killed" ? () : steps()) }
}

sub spool {
    my ($name) = @_;
    my $file;
    return defined $dir && open($file, ">", "$dir/$name") ? $file : undef;
}

# Passes output on until the shell has ended and what it wrote before has been read. Children of it that still hold
# its output live on, and somebody reads what they write.
sub relay {
    my ($pid, @channels) = @_;
    my ($ended, $raw) = (0, 0);
    my %kept = map { $_->[0] => 0 } @channels;
    local $SIG{CHLD} = sub { };    # so that select() returns
    my @open = @channels;
    while (1) {
        if (!$ended && waitpid($pid, $NO_HANG) == $pid) { $ended = 1; $raw = $? }
        my $wanted = "";
        vec($wanted, fileno $_->[0], 1) = 1 for @open;
        my $ready = select $wanted, undef, undef, $ended ? 0 : 0.1;
        if ($ready <= 0) { last if $ended; next }
        my @ready = grep { vec $wanted, fileno $_->[0], 1 } @open;
        for my $channel (@ready) {
            my ($from, $to, $file) = @$channel;
            my $count = sysread $from, my $data, 65536;
            if (!$count) { @open = grep { $_ != $channel } @open; next }
            $kept{$from} += $count;
            if ($file && ($kept{$from} > $SPOOL_BYTES || !write_all($file, $data))) {
                close $file;
                $channel->[2] = undef;
                keep("missing", 1);
            }
            write_all($to, $data);
        }
        last if $ended && !@open;
    }
    drain(@open) if @open;
    return $raw;
}

sub drain {
    my @open = @_;
    return if fork;
    setpgrp 0, 0;
    open STDIN, "<", "/dev/null";
    open STDOUT, ">", "/dev/null";
    open STDERR, ">", "/dev/null";
    while (@open) {
        my $wanted = "";
        vec($wanted, fileno $_->[0], 1) = 1 for @open;
        next if select($wanted, undef, undef, undef) <= 0;
        @open = grep { !vec($wanted, fileno $_->[0], 1) || sysread $_->[0], my $data, 65536 } @open;
    }
    kill 9, $$;
}

sub steps {
    return () unless @steps;
    my $lock;
    flock $lock, $LOCK_EXCLUSIVE if open $lock, ">", "$home/.gitmachine/steps.lock";
    return map { step($_) } @steps;
}

sub step {
    my ($step) = @_;
    pipe my $out, my $out_to;
    pipe my $err, my $err_to;
    my $pid = fork;
    return ("127", "0", "", "no process could be started: $!") unless defined $pid;
    if (!$pid) {
        setpgrp 0, 0;
        chdir "/";
        my $fed = give_input($step->{stdin});
        open STDOUT, ">&", $out_to;
        open STDERR, ">&", $err_to;
        become($step->{script}, @{ $step->{env} }) if $fed;
        kill 9, $$;
    }
    close $_ for $out_to, $err_to;
    my ($ended, $late, $deadline, %said) = (0, 0, time + $step->{limit}, $out => "", $err => "");
    my @open = ($out, $err);
    local $SIG{CHLD} = sub { };
    while (!$ended || @open) {
        if (!$ended && waitpid($pid, $NO_HANG) == $pid) { $ended = 1; $said{code} = $? }
        if (!$late && !$ended && time > $deadline) { $late = 1; kill -9, $pid }
        my $wanted = "";
        vec($wanted, fileno $_, 1) = 1 for @open;
        my $ready = select $wanted, undef, undef, $ended ? 0 : 0.05;
        last if $ended && $ready <= 0;
        next if $ready <= 0;
        my @ready = grep { vec $wanted, fileno $_, 1 } @open;
        for my $from (@ready) {
            @open = grep { $_ != $from } @open unless sysread $from, $said{$from}, 65536, length $said{$from};
        }
    }
    return (status($said{code}), $late ? 1 : 0, $said{$out}, $said{$err});
}

sub answer {
    my $text = $marker . encode(pack "(N/a*)*", @_[0, 1], $home, @_[2 .. $#_]) . "\n";
    keep("answer", $text);
    write_all(\*STDOUT, $text);
}

sub slurp {
    my ($name) = @_;
    open my $file, "<", "$dir/$name" or return undef;
    local $/;
    return scalar <$file>;
}

sub follow {
    my @channels = (["out", $from_out, \*STDOUT], ["err", $from_err, \*STDERR]);
    while (1) {
        my $over = -e "$dir/answer";
        my $lost = !$over && !supervised();
        $over ||= -e "$dir/answer";
        my $moved = 0;
        for my $channel (@channels) {
            my ($name, $at, $to) = @$channel;
            open my $file, "<", "$dir/$name" or next;
            sysseek $file, $at, 0;
            while (my $count = sysread $file, my $data, 65536) { write_all($to, $data); $at += $count; $moved = 1 }
            $channel->[1] = $at;
        }
        if ($over) {
            my $text = slurp("answer");
            if (-e "$dir/missing") {
                my @fields = unpack "(N/a*)*", decode(substr $text, length $marker);
                $fields[3] = 1;
                $text = $marker . encode(pack "(N/a*)*", @fields) . "\n";
            }
            write_all(\*STDOUT, $text);
            return;
        }
        if ($lost) { write_all(\*STDOUT, $marker . encode(pack "(N/a*)*", "lost", 137, $home, 0) . "\n"); return }
        select undef, undef, undef, 0.02 unless $moved;
    }
}

sub supervised {    # who made the directory has not died, nor is about to write its own id into it
    my $pid = slurp("supervisor");
    return time - (stat $dir)[9] < 5 && !-e "$dir/killed" unless $pid;
    open my $file, "<", "/proc/$pid/cmdline" or return 0;
    local $/;
    return index(scalar <$file>, $id) >= 0;
}
