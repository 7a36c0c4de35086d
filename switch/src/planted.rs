//! Faults that a good engineer could commit, each behind one line at its place, for whoever proves that the simulator
//! would have found it.
//!
//! Only the feature `planted-faults`, which is for tests, makes them possible: without it `planted` is a constant, and
//! nothing of this is left in the program. With it one fault at a time is planted, for the whole process, before a node
//! is made.

/// Makes the list: each fault with the sentence that says what is wrong, its name and the promise that it breaks.
macro_rules! faults {
    ($($(#[doc = $what:literal])+ $fault:ident => $name:literal, $breaks:literal;)*) => {
        /// A fault: what is wrong while it is planted.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Fault {
            $($(#[doc = $what])+ $fault,)*
        }

        #[cfg(feature = "planted-faults")]
        impl Fault {
            /// All of them.
            pub const ALL: &[Fault] = &[$(Fault::$fault),*];

            /// Its name, in snake case.
            pub fn name(self) -> &'static str {
                match self {
                    $(Fault::$fault => $name,)*
                }
            }

            /// What is wrong, in one sentence.
            pub fn what(self) -> &'static str {
                match self {
                    $(Fault::$fault => concat!($($what),+).trim_ascii_start(),)*
                }
            }

            /// The promise, or the statement of the standard, that it breaks.
            pub fn breaks(self) -> &'static str {
                match self {
                    $(Fault::$fault => $breaks,)*
                }
            }

            /// The fault of this name.
            pub fn named(name: &str) -> Option<Fault> {
                Fault::ALL.iter().copied().find(|fault| fault.name() == name)
            }
        }
    };
}

faults! {
    // Durability.
    /// A publish is acknowledged before the journal of a shard that owes it has it.
    AcknowledgedBeforeWritten => "acknowledged_before_written", "P3: no acknowledgement before durability";
    /// PUBREC leaves before the journal knows the identifier.
    InboundNotAwaited => "inbound_not_awaited", "QoS 2: exactly once across a crash";
    /// PUBCOMP leaves before the journal knows that the identifier is free.
    CompletedBeforeWritten => "completed_before_written", "QoS 2: exactly once across a crash";
    /// A QoS 2 message is sent before the journal knows its packet identifier.
    SentBeforeWritten => "sent_before_written", "QoS 2: exactly once across a crash";
    /// PUBREL is sent before the journal knows that PUBREC came.
    ReleasedBeforeWritten => "released_before_written", "QoS 2: exactly once across a crash";
    /// CONNACK leaves before the journal knows the session.
    ConnackBeforeWritten => "connack_before_written", "Session Present tells the truth after a crash";
    /// SUBACK leaves before the journal knows the subscriptions.
    SubackBeforeWritten => "suback_before_written", "what is published after a SUBACK reaches the subscriber";
    /// What a client has acknowledged is not written.
    DoneNotWritten => "done_not_written", "QoS 2: exactly once across a crash";
    /// The end of a session is not written.
    EndNotWritten => "end_not_written", "a session that ended does not come back";
    /// A repeat of a QoS 2 message that was taken before a crash is taken again.
    MarksForgotten => "marks_forgotten", "QoS 2: exactly once across a crash";
    /// A QoS 2 message that was refused, and comes again because its client did not hear that, is passed on as a new one.
    RefusalForgotten => "refusal_forgotten", "QoS 2: exactly once [MQTT-4.3.3-10]";
    /// What a log holds is trimmed where a sweep ended, not where it began.
    TrimmedTooFar => "trimmed_too_far", "P1: what was acknowledged is delivered";
    // Publishing.
    /// The publisher's shard acknowledges as soon as the publish is on its way to its owner.
    AcknowledgedEarly => "acknowledged_early", "QoS 1: no PUBACK before those who owe the message hold it";
    /// One message more than the announced Receive Maximum is taken from a client.
    ReceiveMaximumPlusOne => "receive_maximum_plus_one", "section 3.3.4: 0x93 for one too many";
    /// A new connection of a session does not know the QoS 2 identifiers of the one before.
    ReceivedForgotten => "received_forgotten", "QoS 2: exactly once [MQTT-4.3.3-10]";
    /// PUBREL is answered and does not free the packet identifier.
    ReleaseForgotten => "release_forgotten", "QoS 2: exactly once [MQTT-4.3.3-11]";
    /// A credit does not come back when the session that published has ended meanwhile.
    CreditLeaked => "credit_leaked", "memory: everything bounded comes back";
    /// The owner does not ask to be woken when subscribers' shards have resolved a publish.
    ResolutionUnwatched => "resolution_unwatched", "liveness: PUBACK without waiting for an unrelated event";

    // Delivering.
    /// Packet identifiers begin at 1 with each connection, whatever is in flight.
    PacketIdReused => "packet_id_reused", "identifiers in flight are distinct [MQTT-2.2.1-4]";
    /// One message more than the client's Receive Maximum is in flight toward it.
    WindowPlusOne => "window_plus_one", "the client's Receive Maximum [MQTT-3.3.4-9]";
    /// What is in flight is sent again in reverse when its session is resumed.
    ResentInReverse => "resent_in_reverse", "order, redeliveries included [MQTT-4.6.0-1]";
    /// A QoS 2 message is sent again when its session is resumed although PUBREC had come.
    ResentAfterPubrec => "resent_after_pubrec", "QoS 2: exactly once [MQTT-4.3.3-7]";
    /// A delivery has the higher of publish QoS and granted QoS.
    QosRaised => "qos_raised", "QoS of a delivery [MQTT-3.8.4-8]";
    /// No Local is granted and not obeyed.
    NoLocalIgnored => "no_local_ignored", "no delivery without match [MQTT-3.8.3-3]";
    /// A packet that was encoded with one subscriber's identifier serves others of the same fan-out.
    IdentifierOfAnother => "identifier_of_another", "Subscription Identifiers [MQTT-3.3.4-3]";
    /// A topic gets the alias after the client's maximum.
    AliasPlusOne => "alias_plus_one", "the client's Topic Alias Maximum [MQTT-3.3.2-11]";
    /// Overlapping subscriptions of one client are each served from their feed.
    OverlapTwice => "overlap_twice", "QoS 0: at most once a client";
    /// A message that expired while it waited in a session is sent.
    ExpiredDelivered => "expired_delivered", "expiry [MQTT-3.3.2-5]";
    /// What is left of a packet that the socket took in part is dropped.
    TornPacketLost => "torn_packet_lost", "whole packets: the client gets bytes that are not MQTT";
    /// A connection that was parked until its outbox has drained is not tried again then.
    WakeUpLost => "wake_up_lost", "liveness: whoever reads again is read again";
    /// A message of a group is dropped when the member that it waited for ends.
    GroupMessageLost => "group_message_lost", "QoS 1: shared subscriptions [MQTT-4.8.2-4]";

    // Retained messages and subscriptions.
    /// An empty retained message is stored and swept a second later, instead of clearing its topic at once.
    RetainedClearedLate => "retained_cleared_late", "retained messages [MQTT-3.3.1-6] [MQTT-3.3.1-11]";
    /// Retained messages go on where the live ones begin.
    RetainedSliceTooLong => "retained_slice_too_long", "once a subscription: live or retained, never both";
    /// SUBACK is sent when the owners have been asked, not when they have answered.
    SubackEarly => "suback_early", "what is published after SUBACK reaches the subscriber";
    /// UNSUBSCRIBE overtakes a SUBSCRIBE of the same connection that waits for owners.
    UnsubscribeOvertakes => "unsubscribe_overtakes", "no delivery without match: none after UNSUBACK";
    /// Interest that lingers ends although a subscriber has come meanwhile.
    InterestEndedEarly => "interest_ended_early", "what is published after SUBACK reaches the subscriber";

    // Connections and sessions.
    /// The session home is told that a connection has left before owners have its last publishes.
    HomeToldEarly => "home_told_early", "order of one publisher's messages, across a reconnect";
    /// A slot's next connection has the generation of the one before, so late answers reach it.
    SlotGenerationKept => "slot_generation_kept", "a parcel of a dead connection reaches nobody";
    /// A row's next session has the generation of the one before, so late answers reach it.
    SessionGenerationKept => "session_generation_kept", "a parcel of a dead session reaches nobody";
    /// Bytes that were read behind CONNECT stay behind when the socket moves to the session home.
    BytesLeftBehind => "bytes_left_behind", "what TCP has delivered is handled";
    /// The slot that was reserved for a socket is not freed when the socket does not come.
    ReservedSlotLeaked => "reserved_slot_leaked", "memory: everything bounded comes back";
    /// Clean Start begins a new session and leaves the old one in place.
    OldSessionKept => "old_session_kept", "Clean Start [MQTT-3.1.2-4]";
    /// The Session Expiry Interval of DISCONNECT is not taken over.
    ExpiryOfDisconnectIgnored => "expiry_of_disconnect_ignored", "session expiry (section 3.14.2.2.2)";
    /// The timer of a session that waits goes on when its client is back.
    SessionTimerKept => "session_timer_kept", "wills: none while the client is connected [MQTT-3.1.3-9]";
    /// A will that was published stays, and is published again when its session ends.
    WillTwice => "will_twice", "each will once [MQTT-3.1.2-10]";
    /// A session that is kept keeps its will after DISCONNECT with reason 0.
    WillAfterDisconnect => "will_after_disconnect", "wills: none after DISCONNECT [MQTT-3.14.4-3]";
    /// PINGREQ does not count as a sign of life.
    PingNotHeard => "ping_not_heard", "keep alive [MQTT-3.1.2-22]";

    // Access.
    /// Rules that are read again do not hold for subscriptions that are there.
    LiveSubscriptionsForgotten => "live_subscriptions_forgotten", "P3: no delivery to a client that may not read the topic";
    /// What was decided by the rules before counts after a reload.
    DecisionsKept => "decisions_kept", "P3: no delivery to a client that may not read the topic";
    /// A will is judged with its CONNECT alone.
    WillNotJudged => "will_not_judged", "a will is judged again when it is published";
    /// A shared subscription is granted where a part of its filter may be received.
    SharedInPart => "shared_in_part", "P3: no delivery to a client that may not read the topic";
    /// A retained message is delivered although its publisher has lost the right to publish it.
    SourceNotJudged => "source_not_judged", "a retained message is judged again when it is delivered";

    // The ledger and memory.
    /// A message that found its session's queue full is not counted.
    DropNotCounted => "drop_not_counted", "the ledger: matched = delivered + dropped + waiting";
    /// Messages that had left whole when their connection closed count as dropped, too.
    DropCountedTwice => "drop_counted_twice", "the ledger: matched = delivered + dropped + waiting";
    /// A session that ends does not release the messages that it had not sent.
    StoredMessageLeaked => "stored_message_leaked", "memory: everything bounded comes back";
    /// A chunk that is dropped for subscribers that lag does not go back to its arena.
    FeedChunkLeaked => "feed_chunk_leaked", "memory: everything bounded comes back";
}

#[cfg(feature = "planted-faults")]
mod process {
    use std::sync::atomic::{AtomicU8, Ordering};

    use super::Fault;

    /// One more than the number of the fault; 0: none.
    static PLANTED: AtomicU8 = AtomicU8::new(0);

    /// Plants a fault in this process, or none, in place of the one before.
    pub fn plant(fault: Option<Fault>) {
        PLANTED.store(fault.map_or(0, |fault| fault as u8 + 1), Ordering::Relaxed);
    }

    /// Whether this fault is planted.
    #[inline]
    pub(crate) fn planted(fault: Fault) -> bool {
        PLANTED.load(Ordering::Relaxed) == fault as u8 + 1
    }
}

#[cfg(feature = "planted-faults")]
pub use process::plant;
#[cfg(feature = "planted-faults")]
pub(crate) use process::planted;

/// No fault is planted: the feature that could is off.
#[cfg(not(feature = "planted-faults"))]
#[inline(always)]
pub(crate) const fn planted(_fault: Fault) -> bool {
    false
}

#[cfg(all(test, feature = "planted-faults"))]
mod tests {
    use super::*;

    /// Each fault has a name of its own, which finds it, and says in a sentence what is wrong.
    #[test]
    fn faults_are_told_apart() {
        for fault in Fault::ALL {
            assert_eq!(Fault::named(fault.name()), Some(*fault));
            assert!(fault.what().ends_with('.') && !fault.what().starts_with(' '), "{}", fault.what());
            assert!(!fault.breaks().is_empty());
        }
        assert_eq!(Fault::named("none"), None);
    }
}
