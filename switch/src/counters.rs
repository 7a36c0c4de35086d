//! What a shard counts. This is the only list: `$SYS` and the documentation are made from it.

shard::counters! {
    /// Counters and levels of one shard.
    pub enum Counter {
        /// Connections accepted from the kernel.
        ConnectionsAccepted => "connections_accepted",
        /// Connections in use now, whatever their phase.
        ConnectionsOpen => "connections_open",
        /// Clients connected now.
        ClientsConnected => "clients_connected",
        /// Most clients connected at once.
        ClientsMaximum => "clients_maximum",
        /// Sessions kept without a connection now.
        ClientsDisconnected => "clients_disconnected",
        /// Sessions that expired.
        ClientsExpired => "clients_expired",
        /// Connections refused before CONNACK with success.
        ConnectsRefused => "connects_refused",
        /// Handshakes of TLS that were completed.
        TlsCompleted => "tls_handshakes_completed",
        /// Of those: taken up by a ticket.
        TlsResumed => "tls_handshakes_resumed",
        /// Handshakes of TLS that failed, for any reason.
        TlsFailed => "tls_handshakes_failed",
        /// Of those: what came was no TLS.
        TlsFailedNotTls => "tls_failed_not_tls",
        /// No version in common.
        TlsFailedVersion => "tls_failed_version",
        /// No cipher suite, group or signature in common.
        TlsFailedCipher => "tls_failed_cipher",
        /// Another protocol was asked for (ALPN).
        TlsFailedProtocol => "tls_failed_protocol",
        /// The client has shown no certificate.
        TlsFailedCertificateMissing => "tls_failed_certificate_missing",
        /// Its certificate was over, or not begun.
        TlsFailedCertificateExpired => "tls_failed_certificate_expired",
        /// Its certificate was revoked.
        TlsFailedCertificateRevoked => "tls_failed_certificate_revoked",
        /// Its certificate was issued by nobody whom we know, or nothing tells whether it was revoked.
        TlsFailedCertificateUnknown => "tls_failed_certificate_unknown",
        /// Its certificate was wrong in another way.
        TlsFailedCertificateBad => "tls_failed_certificate_bad",
        /// The client refused what it was shown, or ended it.
        TlsFailedAlert => "tls_failed_alert",
        /// The client broke a rule.
        TlsFailedViolated => "tls_failed_violated",
        /// It took longer than a client has.
        TlsFailedTimeout => "tls_failed_timeout",
        /// The client closed the connection before the end.
        TlsFailedClosed => "tls_failed_closed",
        /// Connections that a reload ended, as the client's certificate holds no more.
        TlsEndedCertificate => "tls_ended_certificate",
        /// Connections closed because their address had as many as it may have.
        ConnectionsOverAddress => "connections_over_address",
        /// Connections that came too fast behind others of their address.
        ConnectionsTooFast => "connections_too_fast",
        /// Times that a listener took no connections because they came too fast.
        AcceptsPaused => "accepts_paused",
        /// Clients refused because their user had as many as it may have.
        ClientsOverUser => "clients_over_user",
        /// Clients refused because they came back too often.
        ClientsFlapping => "clients_flapping",
        /// Times that a connection was parked because it published faster than it may.
        HeldBack => "connections_held_back",
        /// Clients that did not prove who they are.
        AuthenticationsFailed => "authentications_failed",
        /// Clients refused because too many waited for their verdict.
        AuthenticationsBusy => "authentications_busy",
        /// Packets that a service was asked about.
        AuthorizationsAsked => "authorizations_asked",
        /// Of those: to which there was no answer.
        AuthorizationsDown => "authorizations_down",
        /// Of those: because too many waited.
        AuthorizationsBusy => "authorizations_busy",
        /// Subscriptions that a service granted and denied when it was asked again.
        AuthorizationsWithdrawn => "authorizations_withdrawn",
        /// Bytes received.
        BytesReceived => "bytes_received",
        /// Bytes sent.
        BytesSent => "bytes_sent",
        /// Packets received, of any type.
        PacketsReceived => "messages_received",
        /// PUBLISH packets received.
        PublishReceived => "publish_messages_received",
        /// Subscriptions now.
        Subscriptions => "subscriptions",
        /// Messages owed to a subscriber, each counted once a subscriber.
        MessagesMatched => "messages_matched",
        /// Of those: given to the kernel whole (QoS 0) or acknowledged (QoS 1 and 2).
        MessagesDelivered => "messages_delivered",
        /// Dropped: the subscriber lagged behind its feed.
        DroppedLagging => "dropped_lagging",
        /// Dropped: no memory for feeds.
        DroppedFeedMemory => "dropped_feed_memory",
        /// Dropped: the connection's outbox was full (QoS 0).
        DroppedOutboxFull => "dropped_outbox_full",
        /// Dropped: the session's queue was full.
        DroppedQueueFull => "dropped_queue_full",
        /// Dropped: no memory for messages that wait.
        DroppedQueueMemory => "dropped_queue_memory",
        /// Dropped: larger than the client's Maximum Packet Size.
        DroppedTooLarge => "dropped_too_large",
        /// Dropped: the message expired.
        DroppedExpired => "dropped_expired",
        /// Dropped: QoS 0 for a session without a connection.
        DroppedOffline => "dropped_offline",
        /// Dropped: the connection closed before it had left (QoS 0).
        DroppedConnectionClosed => "dropped_connection_closed",
        /// Dropped: the session ended before it was acknowledged (QoS 1 and 2).
        DroppedSessionEnded => "dropped_session_ended",
        /// Not delivered here: the group's member was gone, and another one gets it, counted there again.
        DroppedHandedOn => "dropped_handed_on",
        /// Dropped: the group's member was gone, and no other could take it.
        DroppedNoMember => "dropped_no_member",
        /// Dropped: a client may not publish there, or not receive it.
        DroppedNotAuthorized => "dropped_not_authorized",
        /// Dropped: the journal could not take it for a durable session (QoS 1 and 2).
        DroppedJournal => "dropped_journal",
        /// Dropped: a will that some shard had no room for, each time that it was tried.
        DroppedWillRefused => "dropped_will_refused",
        /// Publishes, sessions and subscriptions that were refused because the journal could not take them.
        JournalRefused => "journal_refused",
        /// 1: the journal takes nothing more until a restart.
        JournalFenced => "journal_fenced",
        /// 1: there is no room on the disk, or within its bound, for what is staged.
        JournalStuck => "journal_stuck",
        /// Bytes of the journal's log, from the oldest that is needed to the newest.
        JournalBytes => "journal_bytes",
        /// Bytes of the log that are not on disk yet.
        JournalStaged => "journal_staged",
        /// Times that the journal was compacted.
        JournalSweeps => "journal_sweeps",
        /// Retained messages of QoS 0 that the journal could not take: they are in memory alone.
        RetainedUnkept => "retained_unkept",
        /// Retained messages that the store had no room for.
        RetainedRefused => "retained_refused",
        /// Retained messages owned by this shard now.
        RetainedMessages => "retained_messages",
        /// Times that a connection was parked because its publish could not be passed on.
        Parked => "connections_parked",
        /// Times that no receive buffer was free.
        ReceiveBuffersEmpty => "receive_buffers_empty",
        /// Turns that ran longer than 5 ms.
        TurnsLong => "turns_long",
        /// The longest turn, in microseconds.
        TurnLongestMicros => "turns_longest_micros",
        /// Messages stored for sessions now.
        MessagesStored => "messages_stored",
        /// Bytes of those.
        BytesStored => "bytes_stored",
    }
}

/// Why messages were dropped: a closed list.
pub const DROPPED: [Counter; 15] = [
    Counter::DroppedLagging,
    Counter::DroppedFeedMemory,
    Counter::DroppedOutboxFull,
    Counter::DroppedQueueFull,
    Counter::DroppedQueueMemory,
    Counter::DroppedTooLarge,
    Counter::DroppedExpired,
    Counter::DroppedOffline,
    Counter::DroppedConnectionClosed,
    Counter::DroppedSessionEnded,
    Counter::DroppedHandedOn,
    Counter::DroppedNoMember,
    Counter::DroppedNotAuthorized,
    Counter::DroppedJournal,
    Counter::DroppedWillRefused,
];
