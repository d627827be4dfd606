//! Names of error numbers (errno(3)).

/// Name of an error number; the number itself for one without.
#[must_use]
pub fn name(number: i32) -> String {
    macro_rules! names {
        ($($name:ident)*) => { match number { $(libc::$name => stringify!($name),)* _ => "" } };
    }
    let name = names!(
        EPERM ENOENT ESRCH EINTR EIO ENXIO E2BIG ENOEXEC EBADF ECHILD EAGAIN ENOMEM EACCES EFAULT ENOTBLK EBUSY EEXIST
        EXDEV ENODEV ENOTDIR EISDIR EINVAL ENFILE EMFILE ENOTTY ETXTBSY EFBIG ENOSPC ESPIPE EROFS EMLINK EPIPE ERANGE
        EDEADLK ENAMETOOLONG ENOLCK ENOSYS ENOTEMPTY ELOOP EOPNOTSUPP EPROTO EOVERFLOW EUSERS ENOTSOCK EDESTADDRREQ
        EMSGSIZE EPROTOTYPE ENOPROTOOPT EPROTONOSUPPORT ESOCKTNOSUPPORT EAFNOSUPPORT EADDRINUSE EADDRNOTAVAIL ENETDOWN
        ENETUNREACH ENETRESET ECONNABORTED ECONNRESET ENOBUFS EISCONN ENOTCONN ETIMEDOUT ECONNREFUSED EHOSTDOWN
        EHOSTUNREACH EALREADY EINPROGRESS ESTALE EDQUOT ECANCELED ENOKEY EKEYEXPIRED EKEYREVOKED EKEYREJECTED EBADMSG
        ENODATA
    );
    if name.is_empty() {
        number.to_string()
    } else {
        name.to_owned()
    }
}

/// Name of the error that a system call returned; empty for success.
#[must_use]
pub fn of_result(result: i64) -> String {
    match i32::try_from(result) {
        Ok(result @ ..0) => name(-result),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_have_names_and_success_has_none() {
        assert_eq!(of_result(-1), "EPERM");
        assert_eq!(of_result(-111), "ECONNREFUSED");
        assert_eq!(of_result(-4_000), "4000");
        assert_eq!(of_result(0), "");
        assert_eq!(of_result(7), "");
        assert_eq!(of_result(i64::MIN), "");
    }
}
