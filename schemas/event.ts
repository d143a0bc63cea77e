// The canonical event, schema 1.0. Generated from schemas/event.py; do not edit.
// The names begin with Gateway where the browser has a global of the same name (Event, MessageEvent, Error).

/** A message, or news of one: received, sent, delivered, read, failed. */
export interface Message {
  kind: "message";
  /** The provider's id of the message. */
  message_id?: string;
  /** The conversation it belongs to. */
  conversation_id?: string;
  /** inbound: from the customer to the business. */
  direction?: "inbound" | "outbound";
  /** The provider's own word for the state. */
  status?: string;
  /** Who wrote it. */
  sender?: Party;
  /** Whom it is for. */
  recipient?: Party;
  /** What it says or carries. */
  content?: Content;
  /** Why it failed. */
  error?: GatewayError;
  /** The bulk sending it belongs to. */
  campaign?: Campaign;
  /** Whether it was written in a group chat. */
  is_group?: boolean;
  /** The id of the message it answers. */
  reply_to?: string;
  /** What the sender attached on sending, and facts without a field. */
  metadata?: Record<string, unknown>;
}

/** Somebody at one end of a message, a booking or a payment. */
export interface Party {
  /** The identifier exactly as the provider writes it. */
  id?: string;
  /** E.164 with a leading +, only where certain. */
  phone?: string;
  /** A name to show. */
  name?: string;
  /** An e-mail address as the provider writes it. */
  email?: string;
  /** customer: the person outside; business: our side's number; agent: a human or bot on it. */
  role?: "agent" | "business" | "customer";
}

/** What a message says or carries. */
export interface Content {
  /** The form of the content; unknown if the provider names a form this list lacks. */
  type?: "audio" | "contact" | "document" | "image" | "location" | "reaction" | "text" | "unknown" | "video";
  /** The words of the message. */
  text?: string;
  /** Where the provider keeps the file. */
  media_url?: string;
  /** The file's MIME type. */
  media_type?: string;
  /** The file's name. */
  filename?: string;
  /** Words that accompany the file. */
  caption?: string;
}

/** Why a message failed, in the provider's words. */
export interface GatewayError {
  /** The provider's code. */
  code?: string;
  /** The provider's sentence. */
  message?: string;
}

/** The bulk sending a message belongs to. */
export interface Campaign {
  /** The provider's id of the campaign. */
  id?: string;
  /** The campaign's name. */
  name?: string;
}

/** A conversation that was opened, closed, handed to a human, or changed otherwise. */
export interface Conversation {
  kind: "conversation";
  /** The provider's id of the conversation. */
  conversation_id?: string;
  /** The provider's own word for the state. */
  status?: string;
  /** The customer. */
  contact?: Party;
  /** Who serves the customer. */
  agent?: Party;
  /** Why it changed. */
  reason?: string;
}

/** An appointment and what became of it. */
export interface Booking {
  kind: "booking";
  /** The provider's id of the booking. */
  booking_id?: string;
  /** The provider's own word for the state. */
  status?: string;
  /** When it starts. */
  starts_at?: string;
  /** When it ends. */
  ends_at?: string;
  /** The customer. */
  contact?: Party;
  /** What was booked. */
  service?: string;
  /** What was true before the change, as the provider writes it. */
  previous?: Record<string, unknown>;
}

/** A payment and what became of it. */
export interface Payment {
  kind: "payment";
  /** The provider's id of the payment. */
  payment_id?: string;
  /** The provider's own word for the state. */
  status?: string;
  /** A decimal number as a string, in major units. */
  amount?: string;
  /** ISO 4217, as the provider writes it. */
  currency?: string;
  /** Who pays. */
  contact?: Party;
  /** The booking it pays for. */
  booking_id?: string;
}

/** A channel (a connected number or account) that came, went or wants a login. */
export interface Channel {
  kind: "channel";
  /** The provider's id of the channel. */
  channel_id?: string;
  /** The provider's own word for the state. */
  status?: string;
  /** The channel's number, E.164 with a leading +. */
  phone?: string;
  /** The name customers see. */
  profile_name?: string;
  /** Why it changed. */
  reason?: string;
  /** A LOGIN CREDENTIAL as a data: URL; only in channel.qr_updated. */
  qr_code?: string;
  /** When the credential ends. */
  expires_at?: string;
}

/** Proven, but of a type this gateway has no mapping for: kept whole rather than lost. */
export interface Other {
  kind: "other";
  /** The provider's name for it, or an empty string. */
  name?: string;
  /** What the provider sent, redacted. */
  payload?: unknown;
}

/** Where the event comes from and how that was proven. */
export interface Provenance {
  /** The provider's own name of the event; null if it gives none. */
  provider_type: string | null;
  /** The provider's own id of the event; null if it gives none. */
  provider_id: string | null;
  /** The adapter and its version, as name/version. */
  adapter: string;
  /** How the request was proven: proofs joined by +, or unauthenticated. */
  verified: string;
  /** SHA-256 of the whole request body, byte for byte as received. */
  raw_sha256: string;
}

/** What every event has. */
export interface Envelope {
  /** The same for every retry of the same provider event. Store it and ignore repeats. */
  id: string;
  /** The version of this schema. */
  schema: "1.0";
  /** The provider's time of the event; null if it states none, never invented. */
  occurred_at: string | null;
  /** When the gateway received the request. */
  received_at: string;
  /** Who sent it: the adapter's name. */
  provider: string;
  /** The configured inbound URL it came through. */
  source: string;
  /** The provider-side account: instance, brand, tenant or sender line. */
  account: string | null;
  /** whatsapp, sms, email, voice, instagram, facebook, livechat …: an open set, lower case. */
  channel: string | null;
  /** Events with the same key can be delivered in order; null means no order. */
  ordering_key: string | null;
  /** live: pushed by the provider; backfill: fetched later; test: a test delivery. */
  origin: "backfill" | "live" | "test";
  /** Where it comes from and how that was proven. */
  provenance: Provenance;
  /** What the provider sent for this event, redacted. */
  raw?: unknown;
}

export type MessageType =
  | "message.received"
  | "message.sent"
  | "message.delivered"
  | "message.read"
  | "message.failed";
export interface GatewayMessageEvent extends Envelope {
  type: MessageType;
  data: Message;
}

export type ConversationType =
  | "conversation.opened"
  | "conversation.closed"
  | "conversation.handoff"
  | "conversation.updated";
export interface GatewayConversationEvent extends Envelope {
  type: ConversationType;
  data: Conversation;
}

export type BookingType =
  | "booking.created"
  | "booking.confirmed"
  | "booking.rescheduled"
  | "booking.cancelled"
  | "booking.completed"
  | "booking.no_show"
  | "booking.updated";
export interface GatewayBookingEvent extends Envelope {
  type: BookingType;
  data: Booking;
}

export type PaymentType =
  | "payment.succeeded"
  | "payment.failed"
  | "payment.refunded"
  | "payment.pending"
  | "payment.updated";
export interface GatewayPaymentEvent extends Envelope {
  type: PaymentType;
  data: Payment;
}

export type ChannelType =
  | "channel.connected"
  | "channel.disconnected"
  | "channel.qr_updated";
export interface GatewayChannelEvent extends Envelope {
  type: ChannelType;
  data: Channel;
}

export type OtherType =
  | "other";
export interface GatewayOtherEvent extends Envelope {
  type: OtherType;
  data: Other;
}

/** One thing that happened at a provider, in the one form every subscriber understands. */
export type GatewayEvent =
  | GatewayMessageEvent
  | GatewayConversationEvent
  | GatewayBookingEvent
  | GatewayPaymentEvent
  | GatewayChannelEvent
  | GatewayOtherEvent;
