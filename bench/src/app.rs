//! The app behind the proxies: a fixed small answer to every request, over raw sockets.

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use memchr::memmem;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::cores;
use crate::program::{self, Program};

/// The length of each answer's body, in bytes.
pub const BODY: usize = 128;

/// With this argument the benchmark program is the app, in a process of its own.
pub const ARGUMENT: &str = "app";

/// Serves in this process; the address it listens on.
pub async fn spawn() -> Result<SocketAddr> {
    spawn_at(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await
}

/// The same at an address of this machine; port 0 is any free one.
pub async fn spawn_at(address: SocketAddr) -> Result<SocketAddr> {
    let listener = TcpListener::bind(address).await?;
    let address = listener.local_addr()?;
    tokio::task::spawn_local(serve(listener));
    Ok(address)
}

/// The app as a process of its own, for when this one needs its file descriptors for something else.
pub async fn start(directory: &Path) -> Result<(Program, SocketAddr)> {
    let mut command = program::command(std::env::current_exe()?);
    command.arg(ARGUMENT);
    let address_file = directory.join("app.address");
    command.arg(&address_file);
    let mut program = Program::start("app", command, cores::LOAD, directory)?;
    let mut address = None;
    program
        .until("file with its address", async || {
            address = std::fs::read_to_string(&address_file)
                .ok()
                .and_then(|text| text.trim_end().parse().ok());
            address.is_some()
        })
        .await?;
    Ok((program, address.context("no address")?))
}

/// Is the app: writes its address into the file that the second argument names, and serves.
pub async fn run() -> Result<()> {
    let file = std::env::args_os()
        .nth(2)
        .context("`app` needs a file for its address")?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    writeln!(std::fs::File::create(file)?, "{}", listener.local_addr()?)?;
    serve(listener).await;
    Ok(())
}

/// Waits for a connection and its first bytes, says when they were there, and answers as long as it lasts.
pub async fn first_byte(listener: &TcpListener) -> Result<Instant> {
    let (stream, _) = listener.accept().await?;
    stream.readable().await?;
    let arrived = Instant::now();
    tokio::task::spawn_local(answer(stream));
    Ok(arrived)
}

async fn serve(listener: TcpListener) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::task::spawn_local(answer(stream));
    }
}

/// Answers every request on a connection; requests have no bodies.
async fn answer(mut stream: TcpStream) -> Result<()> {
    stream.set_nodelay(true)?;
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {BODY}\r\n\r\n");
    let response = [head.as_bytes(), &[b'x'; BODY]].concat();
    let mut buffer = [0; 4096];
    let mut filled = 0;
    loop {
        match stream.read(&mut buffer[filled..]).await? {
            0 => return Ok(()),
            read => filled += read,
        }
        if memmem::find(&buffer[..filled], b"\r\n\r\n").is_some() {
            stream.write_all(&response).await?;
            filled = 0;
        } else if filled == buffer.len() {
            bail!("a request's head is longer than {filled} bytes");
        }
    }
}
