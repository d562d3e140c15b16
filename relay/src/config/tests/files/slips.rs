//! One slip at a time in a `[[files]]` table, and several at once.

use super::*;

/// One slip: what to replace, with what, the text of the line that is pointed at, message, cause and remedy in part.
type Slip = (&'static str, &'static str, &'static str, &'static str, &'static str, &'static str);

fn assert_slips(slips: &[Slip]) {
    for (from, to, line, message, cause, remedy) in slips {
        let text = with_line(from, to);
        let found = errors(&text);
        let [problem] = &found[..] else { panic!("`{to}` gave {found:#?}") };
        assert_eq!(text.lines().nth(problem.line() - 1), Some(*line), "{problem:?}");
        assert!(problem.message().contains(message), "{problem:?} lacks `{message}`");
        assert!(problem.cause().contains(cause), "{problem:?} lacks `{cause}`");
        assert!(problem.remedy().contains(remedy), "{problem:?} lacks `{remedy}`");
    }
}

#[test]
fn values_are_checked() {
    assert_slips(&[
        ("channel = 3", "channel = 0", "channel = 0", "`channel` in [[files]] \"reports\" is out of", "1 to 65535", ""),
        ("poll = \"10s\"", "poll = \"2h\"", "poll = \"2h\"", "`poll`", "100ms to 1h", ""),
        ("settle = \"5s\"", "settle = \"0s\"", "settle = \"0s\"", "`settle`", "100ms to 1h", ""),
        ("parallel = 8", "parallel = 65", "parallel = 65", "`parallel`", "1 to 64", ""),
        ("repeat = 2", "attempts = 201", "attempts = 201", "`attempts`", "1 to 200", ""),
        ("repeat = 2", "repeat = 101", "repeat = 101", "`repeat`", "0 to 100", ""),
        ("manifest = \"5min\"", "manifest = \"1ms\"", "manifest = \"1ms\"", "`manifest`", "1s to 24h", ""),
        ("retain = \"48h\"", "retain = \"721h\"", "retain = \"721h\"", "`retain`", "60s to 720h", ""),
        ("buffer = \"1MiB\"", "buffer = \"1B\"", "buffer = \"1B\"", "[[files]] \"reports\"", "64KiB to 1GiB", ""),
        (
            "max_size = \"1GiB\"",
            "max_size = \"0B\"",
            "max_size = \"0B\"",
            "`max_size` in `blue` of [[files]] \"reports\"",
            "1B to 16TiB",
            "",
        ),
        ("port = 2222", "port = 0", "port = 0", "`port`", "1 to 65535", ""),
        (
            "\"2001:db8::25\"",
            "\"ftp://a\"",
            "server = \"ftp://a\"",
            "not a server",
            "without a port or a path",
            "`path`",
        ),
        ("\"2001:db8::25\"", "\"a:21\"", "server = \"a:21\"", "not a server", "", "`port`"),
        ("\"ZONE\\\\relay\"", "\"a\\nb\"", "user = \"a\\nb\"", "not a user", "one line", "DOMAIN"),
        (
            "SHA256:uNi",
            "MD5:uNi",
            "host_key = \"MD5:uNiVztksCsDhcc0u9e8BrqGV0RDyi5pWo1tnyJ1kB9M\"",
            "not a fingerprint",
            "43",
            "ssh-keygen -lf",
        ),
        ("\"exchange$\"", "\"a/b\"", "share = \"a/b\"", "not a share", "none of", "`path`"),
        ("\"in/reports\"", "\"in/../../x\"", "path = \"in/../../x\"", "not a folder", "`..`", ""),
        (
            "\"/srv/out\"",
            "\"out\"",
            "path = \"out\"",
            "`path` in `blue` of [[files]] \"pictures\"",
            "absolute",
            "/srv/files",
        ),
        ("\"*.csv\"", "\"[a\"", "include = [\"[a\", \"reports/**/*.pdf\"]", "bad pattern `[a`", "", "*.csv"),
        ("[\"secret*\"]", "\"secret*\"", "exclude = \"secret*\"", "not a list", "found text", "[\"*.csv\""),
        (
            "\"blocked/by relay\"",
            "\"/tmp\"",
            "quarantine = \"/tmp\"",
            "not a folder of the place",
            "absolute",
            "inside",
        ),
        (
            "\"move:sent\"",
            "\"move:../sent\"",
            "after = \"move:../sent\"",
            "not a folder of the place",
            "`..`",
            "move:sent",
        ),
        ("\"move:sent\"", "\"move\"", "after = \"move\"", "`after` in", "allowed: \"delete\"", "set one of"),
        ("\"move:sent\"", "\"delte\"", "after = \"delte\"", "is unknown", "", "did you mean \"delete\"?"),
        ("kind = \"dir\"", "kind = \"nfs\"", "kind = \"nfs\"", "`kind` in `blue`", "\"sftp\"", ""),
        ("temporary = true", "temporary = 1", "temporary = 1", "`temporary`", "true or false", ""),
    ]);
}

#[test]
fn each_kind_of_place_has_its_own_keys() {
    let reports_blue = "[files.blue]";
    assert_slips(&[
        (
            "path = \"/srv/out\"\n",
            "",
            "[files.blue]",
            "`path` is missing in `blue` of [[files]] \"pictures\"",
            "",
            "/srv/files",
        ),
        ("server = \"files.example.org\"\n", "", "[files.red]", "`server` is missing in `red`", "", "192.168"),
        ("user = \"ZONE\\\\relay\"\n", "", "[files.red]", "`user` is missing", "", ""),
        ("password_file = \"/run/secrets/smb\"\n", "", "[files.red]", "`password_file` is missing", "", ""),
        ("share = \"exchange$\"\n", "", "[files.red]", "`share` is missing", "", ""),
        ("key_file = \"keys/sftp\"\n", "", reports_blue, "`key_file` is missing", "", "or `password_file = "),
        (
            "host_key = \"SHA256:uNiVztksCsDhcc0u9e8BrqGV0RDyi5pWo1tnyJ1kB9M\"\n",
            "",
            reports_blue,
            "`host_key` is missing",
            "",
            "ssh-keygen",
        ),
        (
            "temporary = true",
            "password_file = \"x\"",
            "password_file = \"x\"",
            "excludes `key_file`",
            "set as well",
            "keep one",
        ),
        (
            "\"/srv/out\"",
            "\"/srv/out\"\nserver = 5",
            "server = 5",
            "is for places of kind \"ftp\", \"ftps\", \"smb\", \"sftp\"",
            "the kind is \"dir\"",
            "remove `server`",
        ),
        ("port = 2222", "share = \"x\"", "share = \"x\"", "is for places of kind \"smb\"", "sftp", ""),
        ("port = 2222", "tls = {}", "tls = {}", "is for places of kind \"ftps\"", "sftp", ""),
        (
            "verify = true",
            "verfy = true",
            "tls = { ca_file = \"ca.pem\", verfy = true }",
            "unknown key `verfy`",
            "",
            "`verify`",
        ),
        (
            "[files.blue]\nkind = \"dir\"\npath = \"/srv/out\"\nafter = \"keep\"\n",
            "",
            "[[files]]",
            "[files.blue] is missing",
            "has no [files.blue]",
            "add `[files.blue]` with `kind = \"dir\"`",
        ),
        ("description = ", "descripton = ", "descripton = \"Reports of the day\"", "unknown key", "", "`description`"),
        (
            "path = \"in/reports\"",
            "after = \"keep\"",
            "after = \"keep\"",
            "unknown key `after` in `red`",
            "",
            "takes kind, path, server",
        ),
    ]);
}

#[test]
fn rules_between_keys_of_files_are_checked() {
    assert_slips(&[
        (
            "retain = \"48h\"",
            "retain = \"4min\"",
            "retain = \"4min\"",
            "shorter than `manifest`",
            "manifest is 300s",
            "several times",
        ),
        ("channel = 4", "channel = 3", "channel = 3", "channel 3 is used twice", "first used in line", "files table"),
        ("name = \"pictures\"", "name = \"reports\"", "name = \"reports\"", "`reports` is used twice", "", ""),
        (
            "buffer = \"2MiB\"",
            "buffer = \"1MiB\"\n[[stream]]\nchannel = 9\nname = \"s\"\ntype = \"tcp-unilateral\"\nsource_ip = [\"10.0.0.1\"]\n\
          source_port = 99\ndestination_ip = \"10.0.0.9\"\ndestination_port = 99\nmax_sessions = 3",
            "buffer = \"1MiB\"",
            "RED's `buffer` is too small for all TCP sessions and files: each needs 64KiB",
            "1MiB for 17 sessions",
            "lower `max_sessions` or `parallel`",
        ),
    ]);
}

#[test]
fn streams_and_files_share_channels_and_names() {
    let stream = "[[stream]]\nchannel = 4\nname = \"reports\"\ntype = \"udp-unilateral\"\nsource_ip = [\"10.0.0.1\"]\n\
                  source_port = 99\ndestination_ip = \"10.0.0.9\"\ndestination_port = 99\n";
    let found = errors(&format!("{FILES}{stream}"));
    let told: Vec<&str> = found.iter().map(Problem::message).collect();
    assert_eq!(told, ["the name `reports` is used twice", "channel 4 is used twice"]);
}

#[test]
fn every_slip_of_a_files_table_is_told_at_once() {
    let text = FILES
        .replace("channel = 3", "channel = 0")
        .replace("path = \"/srv/out\"", "path = \"out\"")
        .replace("user = \"ZONE\\\\relay\"", "usr = \"x\"")
        .replace("[\"secret*\"]", "[\"[\", \"{\", \"ok\"]");
    assert_eq!(errors(&text).len(), 6);
}

#[test]
fn files_that_are_no_tables_are_told() {
    let head = FILES.split("[[files]]").next().unwrap();
    for (files, message) in [
        ("files = []", "`files` is not a list of files tables"),
        ("files = 5", "not a list"),
        ("files = [1]", "[[files]] number 1 is not a table"),
    ] {
        let found = errors(&format!("{files}\n{head}"));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].message().contains(message) && found[0].line() == 1, "{found:?}");
    }
    let crowd = format!("include = [{}]", "\"a\", ".repeat(257));
    let found = errors(&with_line("include = [\"*.csv\", \"reports/**/*.pdf\"]", &crowd));
    assert!(found[0].cause().contains("257 patterns; at most 256"), "{found:?}");
}
