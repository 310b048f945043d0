//! Completions as the shells themselves read them.

mod support;

use std::process::Command;

use support::{lameduck, run, run_with_input};

#[test]
fn bash_completes_subcommands_and_options() {
    let (status, script, _) = run(lameduck(&["completions", "bash"]));
    assert_eq!(status, 0);
    let asks = "\nCOMP_WORDS=(lameduck pl); COMP_CWORD=1; _lameduck lameduck pl lameduck; echo ${COMPREPLY[@]}
COMP_WORDS=(lameduck plan --sv); COMP_CWORD=2; _lameduck lameduck --sv plan; echo ${COMPREPLY[@]}\n";
    let mut bash = Command::new("bash");
    bash.args(["--norc", "-s"]);
    let (status, text, error) = run_with_input(bash, &format!("{script}{asks}"));
    assert_eq!((status, text.as_str()), (0, "plan\n--svg\n"), "{error}");
}

#[test]
fn every_shell_has_completions_of_every_subcommand() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let (status, script, error) = run(lameduck(&["completions", shell]));
        assert_eq!((status, error.as_str()), (0, ""), "{shell}");
        for subcommand in ["completions", "drill", "plan", "report"] {
            assert!(script.contains(subcommand), "{shell}: {subcommand}");
        }
    }
    let (status, _, error) = run(lameduck(&["completions", "tcsh"]));
    assert!(status == 2 && error.contains("possible values"), "{error}");
}
