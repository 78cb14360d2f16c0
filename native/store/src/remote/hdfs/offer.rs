//! How a namenode offers to log in.
//!
//! The client takes what it is offered: a namenode that offers SIMPLE gets our requests without
//! any proof of who it is, whatever the configuration says, and without a word about it. So each
//! namenode is asked for its offer before a client is made for it.

use std::io;
use std::time::Duration;

use futures_util::future::join_all;
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::failure::Problem;
use crate::error::ErrorKind;

/// `hrpc`, version 9, service class 0, and -33 for a login through SASL.
const CONNECTION_HEADER: [u8; 7] = [b'h', b'r', b'p', b'c', 9, 0, 0xdf];
/// The call that negotiates a login has this number.
const SASL_CALL: i32 = -33;
/// Protocol buffers, in Hadoop's numbers.
const RPC_KIND: i32 = 2;
const NEGOTIATE: i32 = 1;
/// An offer is some hundred bytes.
const LONGEST_ANSWER: usize = 64 << 10;
const CLIENT_ID: [u8; 16] = [0; 16];

/// `RpcRequestHeaderProto`.
#[derive(Clone, PartialEq, Message)]
struct RequestHeader {
    #[prost(int32, optional, tag = "1")]
    kind: Option<i32>,
    #[prost(int32, optional, tag = "2")]
    operation: Option<i32>,
    #[prost(sint32, required, tag = "3")]
    call: i32,
    #[prost(bytes = "vec", required, tag = "4")]
    client: Vec<u8>,
    #[prost(sint32, optional, tag = "5")]
    retry: Option<i32>,
}

/// `RpcResponseHeaderProto`.
#[derive(Clone, PartialEq, Message)]
struct ResponseHeader {
    #[prost(uint32, required, tag = "1")]
    call: u32,
    #[prost(int32, required, tag = "2")]
    status: i32,
}

/// `RpcSaslProto`.
#[derive(Clone, PartialEq, Message)]
struct Sasl {
    #[prost(int32, required, tag = "2")]
    state: i32,
    #[prost(message, repeated, tag = "4")]
    offers: Vec<Offer>,
}

/// `RpcSaslProto.SaslAuth`.
#[derive(Clone, PartialEq, Message)]
struct Offer {
    #[prost(string, required, tag = "1")]
    method: String,
}

/// Refuses a cluster of which a namenode would have us without Kerberos.
///
/// A namenode that does not answer says nothing: what the client then says of it is better.
pub(super) async fn insist_on_kerberos(
    namenodes: &[String],
    limit: Duration,
) -> Result<(), Problem> {
    let asked = namenodes.iter().map(|address| async move {
        match timeout(limit, methods(address)).await {
            Ok(Ok(methods)) => check(address, &methods),
            Ok(Err(_)) | Err(_) => Ok(()),
        }
    });
    join_all(asked).await.into_iter().collect()
}

fn check(address: &str, methods: &[String]) -> Result<(), Problem> {
    let offers = |method: &str| methods.iter().any(|offered| offered == method);
    if offers("KERBEROS") && !offers("SIMPLE") {
        return Ok(());
    }
    let text = format!(
        "namenode {address} offers to go without Kerberos, which \
         `hadoop.security.authentication` demands (it offers {})",
        methods.join(", ")
    );
    Err(Problem::new(ErrorKind::Denied, text))
}

/// The methods of login that a namenode offers.
async fn methods(address: &str) -> io::Result<Vec<String>> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(&request()?).await?;
    let length = stream.read_u32().await?;
    let length = usize::try_from(length).ok().filter(|length| *length <= LONGEST_ANSWER);
    let mut answer = vec![0; length.ok_or(io::ErrorKind::InvalidData)?];
    stream.read_exact(&mut answer).await?;
    let mut answer = answer.as_slice();
    ResponseHeader::decode_length_delimited(&mut answer)?;
    let sasl = Sasl::decode_length_delimited(&mut answer)?;
    Ok(sasl.offers.into_iter().map(|offer| offer.method).collect())
}

fn request() -> io::Result<Vec<u8>> {
    let header = RequestHeader {
        kind: Some(RPC_KIND),
        operation: Some(0),
        call: SASL_CALL,
        client: CLIENT_ID.to_vec(),
        retry: Some(-1),
    };
    let negotiate = Sasl { state: NEGOTIATE, offers: Vec::new() };
    let body =
        [header.encode_length_delimited_to_vec(), negotiate.encode_length_delimited_to_vec()]
            .concat();
    let length = u32::try_from(body.len()).map_err(io::Error::other)?;
    Ok([&CONNECTION_HEADER[..], &length.to_be_bytes(), &body].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_kerberos_will_do() {
        let methods =
            |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        assert!(check("nn:8020", &methods(&["TOKEN", "KERBEROS"])).is_ok());
        for names in [&["SIMPLE"][..], &["KERBEROS", "SIMPLE"], &["TOKEN"], &[]] {
            let problem = check("nn:8020", &methods(names)).unwrap_err();
            assert_eq!(problem.kind, ErrorKind::Denied);
            assert!(problem.to_string().starts_with("namenode nn:8020 offers to go without"));
        }
    }
}
