// Every limit of an engine, and how it says no.

package import Primitives

package struct EngineLimits: Hashable, Sendable {
    /// Sequences that share a batch.
    package var sequencesMax = 32
    /// Requests that wait for a place, of all tenants and of each.
    package var queueMax = 256
    package var queuePerTenantMax = 128
    /// Tenants whose share of the work is remembered.
    package var tenantsMax = 4096
    /// Tokens of one step: the chunk that a prompt is cut into.
    package var stepTokensMax = 256
    /// Of these, tokens of prompts while others are answering: what a long prompt adds to everybody's next token.
    package var promptTokensBesideAnswersMax = 64
    /// Sequences up to which drafts are verified: beyond, rows are better spent on others.
    package var speculatingSequencesMax = 4
    /// Tokens that a tenant may be ahead of one that waits before a place of its is taken.
    package var fairnessTokens = 256
    /// The key/value cache; never exceeded.
    package var cacheBytesMax = 256 << 20
    /// How keys and values are kept: int8 takes a quarter of the memory and changes answers' bits.
    package var cachePrecision = CachePrecision.f32
    /// Whether pages outlive their sequences, for prompts that begin alike.
    package var keepsPages = true
    /// Adapters that are known by name, and the memory of those whose weights are here; never exceeded.
    package var adaptersMax = 65536
    package var adapterBytesMax = 256 << 20
    /// Adapters that are being read at once: to read is to compute, and the other cores have work of their own.
    package var adapterLoadsMax = 1
    /// Adapters in one fusion.
    package var fusedMax = 16
    package var stopStringsMax = 16
    package var stopStringBytesMax = 256
    package var topLogProbabilitiesMax = 20

    package init() {}
}

package enum EngineFault: Error, Hashable, CustomStringConvertible {
    /// The peer is full: for everybody.
    case queueFull(limit: Int, retryAfter: Span)
    /// One tenant has as many waiting as it may; others are still let in.
    case tenantQueueFull(tenant: String, limit: Int, retryAfter: Span)
    case promptEmpty
    case promptTooLong(tokens: Int, contextTokens: Int)
    case tokenOutOfRange(token: Int32, vocabulary: Int)
    case exceedsCache(pages: Int, pagesMax: Int)
    case parameter(name: String, reason: String)
    case adapterUnknown(String)
    case adapterKnown(String)
    case adaptersFull(limit: Int)
    case adapterTooLarge(name: String, bytes: Int, bytesMax: Int)
    case adapterMemoryFull(name: String, bytesMax: Int)

    /// How long a caller that is refused for want of room should wait; nil where asking again does not help.
    package var retryAfter: Span? {
        switch self {
        case .queueFull(_, let span), .tenantQueueFull(_, _, let span): span
        default: nil
        }
    }

    package var description: String {
        switch self {
        case .queueFull(let limit, let span):
            "\(limit) requests are waiting already; try again in \(Self.seconds(span))"
        case .tenantQueueFull(_, let limit, let span):
            "\(limit) of your requests are waiting already; try again in \(Self.seconds(span))"
        case .promptEmpty: "the prompt has no tokens"
        case .promptTooLong(let tokens, let context):
            "the prompt has \(tokens) tokens; this model's context holds \(context), one of them for the answer"
        case .tokenOutOfRange(let token, let vocabulary): "token \(token) is not in a vocabulary of \(vocabulary)"
        case .exceedsCache(let pages, let pagesMax):
            "the request needs \(pages) cache pages of 16 tokens; this peer allows \(pagesMax)"
        case .parameter(let name, let reason): "\(name) \(reason)"
        case .adapterUnknown(let name): "adapter \"\(name)\" is not loaded"
        case .adapterKnown(let name): "adapter \"\(name)\" is loaded already"
        case .adaptersFull(let limit): "\(limit) adapters are loaded already; unload one first"
        case .adapterTooLarge(let name, let bytes, let bytesMax):
            "adapter \"\(name)\" takes \(bytes) bytes; this peer gives adapters \(bytesMax)"
        case .adapterMemoryFull(let name, let bytesMax):
            "there is no room for adapter \"\(name)\" in the \(bytesMax) bytes for adapters; unload or unpin one first"
        }
    }

    private static func seconds(_ span: Span) -> String { "\(max(1, (span.milliseconds + 999) / 1000)) s" }
}
