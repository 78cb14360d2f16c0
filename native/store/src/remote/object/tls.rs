//! Why a server is not spoken to with TLS.

use std::error::Error;
use std::io;

use rustls::{CertificateError, Error as TlsError};

use super::answers::{chain, innermost};

/// Why the handshake failed, and what can be done about it; `None` for what is no matter of TLS.
pub(super) fn refusal(error: &(dyn Error + 'static)) -> Option<String> {
    let link = chain(error).filter_map(|link| link.downcast_ref()).find_map(within)?;
    Some(reason(link))
}

/// The error of the TLS library in one of the system's.
fn within(error: &io::Error) -> Option<&TlsError> {
    // An error within is no source of this one; that is what is below it.
    let inner = error.get_ref()?;
    inner.downcast_ref().or_else(|| inner.downcast_ref().and_then(within))
}

fn reason(error: &TlsError) -> String {
    let known = match error {
        // A new authority may have the name of the one that is trusted: then the signature differs.
        TlsError::InvalidCertificate(
            CertificateError::UnknownIssuer | CertificateError::BadSignature,
        ) => {
            "its certificate is from an authority that is not trusted here; hint: name that \
             authority's certificate in `storm.oci.store.ca.file`, or add it to the system's"
        }
        TlsError::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => {
            "its certificate is for another name; hint: `openssl s_client -connect` shows it, and \
             the store must be named as there"
        }
        TlsError::InvalidCertificate(
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. },
        ) => {
            "its certificate has expired, or is not valid yet; hint: have it renewed, and compare \
             this host's clock"
        }
        TlsError::InvalidMessage(_) => {
            "what it answers is not TLS; hint: use `http://`, or the right port"
        }
        other => return innermost(other),
    };
    known.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the HTTP client wraps what the TLS library says.
    fn wrapped(error: TlsError) -> io::Error {
        io::Error::other(io::Error::new(io::ErrorKind::InvalidData, error))
    }

    #[test]
    fn an_expired_certificate_is_told_with_a_hint() {
        for error in [CertificateError::Expired, CertificateError::NotValidYet] {
            let reason = refusal(&wrapped(TlsError::InvalidCertificate(error))).unwrap();
            assert!(reason.starts_with("its certificate has expired"), "{reason}");
            assert!(reason.contains("; hint: "), "{reason}");
        }
    }

    #[test]
    fn what_has_no_sentence_of_ours_is_told_in_the_librarys_words() {
        let error = TlsError::InvalidCertificate(CertificateError::Revoked);
        assert_eq!(refusal(&wrapped(error.clone())), Some(error.to_string()));
    }

    #[test]
    fn a_refused_connection_is_no_matter_of_tls() {
        assert_eq!(refusal(&io::Error::from(io::ErrorKind::ConnectionRefused)), None);
    }
}
