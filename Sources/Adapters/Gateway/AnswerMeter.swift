// What an answer's way through the gateway is measured by: time to the first token, time between tokens, tokens, how it
// ended. Labels are routes and fixed words, so the number of series is bounded.

import Metrics
import Primitives

struct AnswerMeter {
    private let registry: PrometheusRegistry
    private let route: String
    private let start = ContinuousClock.now
    private let betweenTokens: Timer
    /// Of each choice.
    private var last: [Int: ContinuousClock.Instant] = [:]
    private var hasBegun = false
    private var tokens = 0

    init(_ registry: PrometheusRegistry, route: String) {
        self.registry = registry
        self.route = route
        betweenTokens = Timer(
            label: "openledger_inter_token_seconds", dimensions: [("route", route)], factory: registry)
    }

    mutating func take(_ event: GenerationEvent) {
        switch event {
        case .token(let token) where !token.isPrompt:
            let now = ContinuousClock.now
            if let earlier = last.updateValue(now, forKey: token.choice) {
                betweenTokens.recordNanoseconds((now - earlier).nanoseconds)
            }
            if !hasBegun {
                Timer(
                    label: "openledger_time_to_first_token_seconds", dimensions: [("route", route)], factory: registry
                ).recordNanoseconds((now - start).nanoseconds)
            }
            hasBegun = true
            tokens += 1
        case .usage(let promptTokens, _): count("openledger_prompt_tokens", promptTokens)
        default: break
        }
    }

    private func count(_ label: String, _ amount: Int) {
        Counter(label: label, dimensions: [("route", route)], factory: registry).increment(by: amount)
    }

    /// The answer is whole.
    func ended() { end("whole") }
    /// Or it is not: a fault, or nobody listens any more.
    func broke(_ error: any Error) { end(error is NodeFault ? "fault" : "left") }

    private func end(_ word: String) {
        count("openledger_answer_tokens", tokens)
        Counter(label: "openledger_answers", dimensions: [("route", route), ("end", word)], factory: registry)
            .increment()
    }
}

extension Duration {
    /// Saturating.
    var nanoseconds: Int64 {
        let parts = components
        let (whole, overflow) = parts.seconds.multipliedReportingOverflow(by: 1_000_000_000)
        return overflow ? .max : whole + parts.attoseconds / 1_000_000_000
    }
}
