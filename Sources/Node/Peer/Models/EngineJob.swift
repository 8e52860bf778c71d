// What is asked of an engine, and how it answers. A job is made anywhere and runs on the engine's thread: there its prompt
// is written with the model's own template and tokenizer, there its sink is called.

import Inference
import Primitives
import Synchronization

/// Why a job does not run. One fault, two tongues: a code on the wire, a `NodeFault` at the HTTP door.
struct JobFault: Error, Sendable {
    enum Kind: Sendable { case invalid, missing, busy, unsupported, broken, unavailable }

    var kind: Kind
    var code: String
    var message: String
    /// The field of an HTTP request.
    var parameter: String?
    var retryAfterSeconds: Int?

    init(
        _ kind: Kind, _ code: String, _ message: String, parameter: String? = nil, retryAfterSeconds: Int? = nil
    ) {
        self.kind = kind
        self.code = code
        self.message = message
        self.parameter = parameter
        self.retryAfterSeconds = retryAfterSeconds
    }

    init(_ fault: EngineFault) {
        switch fault {
        // Of all tenants: this peer has no room. Of one: it asks too much.
        case .queueFull: self.init(.unavailable, "queue_full", fault.description, retryAfter: fault.retryAfter)
        case .tenantQueueFull: self.init(.busy, "busy", fault.description, retryAfter: fault.retryAfter)
        case .promptEmpty: self.init(.invalid, "prompt_empty", fault.description, parameter: "prompt")
        case .promptTooLong: self.init(.invalid, "context_length_exceeded", fault.description, parameter: "prompt")
        case .tokenOutOfRange: self.init(.invalid, "token_out_of_range", fault.description, parameter: "prompt")
        case .exceedsCache: self.init(.invalid, "too_long", fault.description, parameter: "max_tokens")
        case .parameter(let name, _): self.init(.invalid, "out_of_range", fault.description, parameter: name)
        case .adapterMemoryFull:
            self.init(.unavailable, "adapter_memory", fault.description, parameter: "model", retryAfterSeconds: 1)
        case .adapterTooLarge: self.init(.invalid, "adapter", fault.description, parameter: "model")
        case .adapterUnknown, .adapterKnown, .adaptersFull: self.init(.broken, "adapter", fault.description)
        }
    }

    private init(_ kind: Kind, _ code: String, _ message: String, retryAfter: Span?) {
        let seconds = retryAfter.map { Int(clamping: ($0.milliseconds + 999) / 1_000) }
        self.init(kind, code, message, retryAfterSeconds: max(1, seconds ?? 1))
    }

    init(_ fault: ShelfFault, code: String, parameter: String? = "model") {
        if case .unknown = fault {
            self.init(.missing, "\(code)_missing", fault.description, parameter: parameter)
        } else {
            self.init(.broken, code, fault.description, parameter: parameter)
        }
    }

    static let expired = JobFault(
        .unavailable, "expired", "the answer could not begin in time; try again", retryAfterSeconds: 1)
    static func adapterFailed(_ reason: String) -> JobFault {
        JobFault(.broken, "adapter", "the adapter cannot be used: \(reason)", parameter: "model")
    }
    static func grammar(_ reason: String) -> JobFault {
        JobFault(
            .invalid, "grammar", "no token can follow that response_format allows: \(reason)",
            parameter: "response_format")
    }
    static let closing = JobFault(.unavailable, "closing", "the peer is shutting down")
    static let notFinite = JobFault(
        .broken, "not_finite", "the model computed a value that is not finite; its weights or adapter are unusable")
}

/// Says that nobody waits for a job any more.
final class JobToken: Sendable {
    private let flag = Atomic(false)

    var isCancelled: Bool { flag.load(ordering: .relaxed) }
    func cancel() { flag.store(true, ordering: .relaxed) }
}

/// What the engine's thread tells a job that runs.
enum JobEvent {
    /// Of one of the job's requests, by its place.
    case output(Int, SequenceOutput)
    /// The token said so; nothing follows.
    case cancelled
    /// Nothing follows.
    case failed(JobFault)
}

/// A job as the engine runs it; lives on the engine's thread only.
struct StartedJob {
    var requests: [Inference.GenerationRequest]
    /// Called once, when all requests are taken, before the first output.
    var accepted: () -> Void
    var sink: (JobEvent) -> Void
}

struct EngineJob: Sendable {
    let token: JobToken
    /// Those that its requests name, by the text of their CID.
    let adapters: [CID]
    /// Writes prompts and checks settings, on the engine's thread.
    let begin: @Sendable (LoadedModel) throws(JobFault) -> StartedJob
    /// For a job that did not get as far as `accepted`.
    let refuse: @Sendable (JobFault) -> Void
    /// Called once, last.
    let ended: @Sendable () -> Void

    func fail(_ fault: JobFault) {
        refuse(fault)
        ended()
    }
}
