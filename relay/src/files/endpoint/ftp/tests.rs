//! Against servers of a few lines, which do what real ones must not.

use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::*;
use crate::config::PlaceKind;

const PASSWORD: &str = "correct horse";
/// For servers that answer, however much their machine has to do.
const PATIENT: Duration = Duration::from_mins(1);
/// For servers that do not: soon over, and long enough for those steps that they do answer.
const IMPATIENT: Duration = Duration::from_secs(1);

/// A server that answers each command that begins as one of `answers` does, in any order, and all others with 500. An answer
/// of nothing is silence. Gives all commands that came.
struct Scripted {
    place: Place,
    commands: JoinHandle<Vec<String>>,
}

impl Scripted {
    async fn start(answers: Vec<(&'static str, String)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
        let port = listener.local_addr().expect("an address").port();
        let commands = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.expect("a connection");
            serve(stream, &answers).await
        });
        let place = Place {
            kind: PlaceKind::Ftp,
            server: "127.0.0.1".to_owned(),
            port,
            user: "relay".to_owned(),
            password_file: None,
            key_file: None,
            host_key: None,
            share: String::new(),
            path: "in".to_owned(),
            ca_file: None,
            verify: true,
        };
        Self { place, commands }
    }

    async fn connect(&self) -> Result<FtpEndpoint, EndpointError> {
        FtpEndpoint::connect_within(&self.place, Some(PASSWORD), PATIENT).await
    }

    async fn connect_impatiently(&self) -> Result<FtpEndpoint, EndpointError> {
        FtpEndpoint::connect_within(&self.place, Some(PASSWORD), IMPATIENT).await
    }

    /// All commands, after the connection has ended.
    async fn commands(self) -> Vec<String> {
        self.commands.await.expect("served")
    }
}

async fn serve(stream: TcpStream, answers: &[(&'static str, String)]) -> Vec<String> {
    let mut stream = BufReader::new(stream);
    let mut commands = Vec::new();
    let mut line = "(greeting)".to_owned();
    loop {
        let command = line.trim_end().to_owned();
        let answer = answers.iter().find(|(begin, _)| command.starts_with(begin)).map(|(_, answer)| answer.as_str());
        let answer = answer.map_or_else(|| "500 What?\r\n".to_owned(), str::to_owned);
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return commands;
        }
        commands.push(command);
        line.clear();
        if !matches!(stream.read_line(&mut line).await, Ok(1..)) {
            return commands;
        }
    }
}

/// What a server without any extension says until a place is entered, with `more` before it.
fn answers(more: &[(&'static str, &str)]) -> Vec<(&'static str, String)> {
    let usual = [
        ("(greeting)", "220 Ready\r\n"),
        ("USER", "331 Password?\r\n"),
        ("PASS correct horse", "230 In\r\n"),
        ("PASS", "530 No\r\n"),
        ("TYPE I", "200 Binary\r\n"),
        ("CWD in", "250 There\r\n"),
        ("PWD", "257 \"/home/with \"\"quotes\"\"/in\" is it\r\n"),
    ];
    more.iter().chain(&usual).map(|(begin, answer)| (*begin, (*answer).to_owned())).collect()
}

fn name(text: &str) -> FileName {
    FileName::new(text).expect("a name")
}

#[tokio::test]
async fn a_server_that_says_nothing_is_gone() {
    let mut steps = tokio::task::JoinSet::new();
    for silent in ["(greeting)", "USER", "PASS", "TYPE", "CWD", "PWD", "DELE"] {
        steps.spawn(async move {
            let server = Scripted::start(answers(&[(silent, "")])).await;
            let error = match server.connect_impatiently().await {
                Ok(mut endpoint) => endpoint.delete(&name("a")).await.expect_err("silence"),
                Err(error) => error,
            };
            assert_eq!(error.trouble, Trouble::Gone, "{silent}: {error}");
        });
    }
    steps.join_all().await;
}

#[tokio::test]
async fn a_password_is_in_no_error() {
    let echo = format!("530 relay/{PASSWORD} is wrong\r\n");
    let server = Scripted::start(answers(&[("PASS", &echo)])).await;
    let error = server.connect().await.err().expect("refused");
    assert_eq!(error.trouble, Trouble::Login);
    assert!(!format!("{error} {error:?}").contains(PASSWORD), "{error}");
}

#[tokio::test]
async fn names_follow_the_place_and_are_one_command_each() {
    let server = Scripted::start(answers(&[("DELE", "250 Gone\r\n")])).await;
    let mut endpoint = server.connect().await.expect("in");
    endpoint.delete(&name("a b/c")).await.expect("done");
    let error = endpoint.delete(&name("a\r\nDELE b")).await.expect_err("impossible");
    assert_eq!(error.trouble, Trouble::Name);
    drop(endpoint);
    let commands = server.commands().await;
    assert_eq!(commands.last().map(String::as_str), Some("DELE /home/with \"quotes\"/in/a b/c"));
}

#[tokio::test]
async fn a_transfer_goes_to_the_server_that_was_reached() {
    let data = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
    let port = data.local_addr().expect("an address").port();
    // 192.0.2.1 is nobody's (RFC 5737).
    let elsewhere = format!("227 Entering (192,0,2,1,{},{})\r\n", port >> 8, port & 0xFF);
    let retrieve = [("PASV", elsewhere.as_str()), ("RETR", "150 Here it comes\r\n226 Done\r\n")];
    let server = Scripted::start(answers(&retrieve)).await;
    let sender = tokio::spawn(async move {
        let (mut stream, _) = data.accept().await.expect("a connection");
        stream.write_all(b"content").await.expect("sent");
    });
    let mut endpoint = server.connect().await.expect("in");
    endpoint.open(&name("a"), 0).await.expect("open");
    assert_eq!(endpoint.read(100).await.expect("read"), b"content"[..]);
    assert!(endpoint.read(100).await.expect("the end").is_empty());
    sender.await.expect("sent");
}

#[tokio::test]
async fn a_transfer_that_stands_still_is_gone() {
    for (command, reads) in [("RETR", true), ("STOR", false)] {
        let data = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
        let port = data.local_addr().expect("an address").port();
        let passive = format!("227 Entering (127,0,0,1,{},{})\r\n", port >> 8, port & 0xFF);
        let server = Scripted::start(answers(&[("PASV", &passive), (command, "150 Well\r\n")])).await;
        // Accepts, and neither reads nor writes until it is closed.
        let idle = tokio::spawn(async move {
            let (mut stream, _) = data.accept().await.expect("a connection");
            if reads { stream.read(&mut [0; 1]).await.map(drop) } else { std::future::pending().await }
        });
        let mut endpoint = server.connect_impatiently().await.expect("in");
        let result = if reads {
            endpoint.open(&name("a"), 0).await.expect("open");
            endpoint.read(100).await.map(drop)
        } else {
            endpoint.create(&name("a")).await.expect("create");
            // More than any socket buffers.
            endpoint.append(Bytes::from(vec![0; 64 << 20])).await
        };
        assert_eq!(result.expect_err("nothing moves").trouble, Trouble::Gone);
        idle.abort();
    }
}

#[tokio::test]
async fn what_arrived_short_is_an_error() {
    let data = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
    let port = data.local_addr().expect("an address").port();
    let passive = format!("227 Entering (127,0,0,1,{},{})\r\n", port >> 8, port & 0xFF);
    let more = [
        ("FEAT", "211-All\r\n size\r\n211 End\r\n"),
        ("PASV", &passive),
        ("STOR", "150 Well\r\n226 Done\r\n"),
        ("SIZE", "213 5\r\n"),
    ];
    let server = Scripted::start(answers(&more)).await;
    let receiver = tokio::spawn(async move {
        let (mut stream, _) = data.accept().await.expect("a connection");
        stream.read_to_end(&mut Vec::new()).await.map(drop)
    });
    let mut endpoint = server.connect().await.expect("in");
    endpoint.create(&name("a")).await.expect("create");
    endpoint.append(Bytes::from_static(b"content")).await.expect("append");
    let error = endpoint.sync(&Attributes { size_bytes: 7, ..Attributes::default() }).await.expect_err("short");
    assert!(error.to_string().contains("7 bytes were sent, and the server has 5"), "{error}");
    receiver.await.expect("received").expect("received");
}

#[tokio::test]
async fn a_step_that_is_dropped_half_way_takes_no_answer_of_the_next() {
    let server = Scripted::start(answers(&[("DELE", "")])).await;
    let mut endpoint = server.connect().await.expect("in");
    // `delete` waits for an answer when it is dropped.
    let dropped = tokio::time::timeout(Duration::from_millis(20), endpoint.delete(&name("a"))).await;
    assert!(dropped.is_err() && endpoint.session.is_none(), "the next step connects anew");
}
