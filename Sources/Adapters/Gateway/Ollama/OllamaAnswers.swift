// Ollama's answers: lines of JSON while the text grows, and a last one with counters in nanoseconds.
//
//     asked ──load──▶ taken by the node ──prompt_eval──▶ first token ──eval──▶ done

import Primitives

#if canImport(Glibc)
import Glibc
#elseif canImport(Darwin)
import Darwin
#endif

enum OllamaShape: Sendable {
    case chat, generate
}

/// What is gathered of one answer, and how it looks.
struct OllamaAnswer {
    let shape: OllamaShape
    let model: String
    private let begun: ContinuousClock.Instant
    private let taken = ContinuousClock.now
    private var firstToken: ContinuousClock.Instant?
    private var text = ""
    private var logProbabilities: [JSONValue] = []
    private var toolCalls: [JSONValue] = []
    private var finish = FinishReason.stop
    private var promptTokens = 0
    private var answerTokens = 0
    private var sources: [AnswerSource] = []
    private var receipt: ReceiptNote?

    init(shape: OllamaShape, model: String, begun: ContinuousClock.Instant) {
        self.shape = shape
        self.model = model
        self.begun = begun
    }

    /// - Returns: the line that says it; nil where there is nothing to say yet.
    mutating func take(_ event: GenerationEvent) -> JSONValue? {
        switch event {
        case .token(let token):
            if firstToken == nil { firstToken = .now }
            answerTokens += 1
            text += token.text
            let scored = token.chosen.map { Self.json($0, token.alternatives) }
            if let scored { logProbabilities.append(scored) }
            guard !token.text.isEmpty || scored != nil else { return nil }
            return line(token.text, logProbabilities: scored.map { [$0] } ?? [], isDone: false)
        case .toolCall(_, let call):
            toolCalls.append(call.ollama)
            return line("", logProbabilities: [], toolCalls: [call.ollama], isDone: false)
        case .finished(_, let reason): finish = reason
        case .sources(let sources): self.sources = sources
        case .receipt(let receipt): self.receipt = receipt
        case .usage(let prompt, let completion):
            promptTokens = prompt
            answerTokens = completion
        }
        return nil
    }

    /// - Parameter whole: with all of the text, for a client that does not stream.
    func last(whole: Bool) -> JSONValue {
        let now = ContinuousClock.now
        let first = firstToken ?? now
        let body = line(
            whole ? text : "", logProbabilities: whole ? logProbabilities : [], toolCalls: whole ? toolCalls : [],
            isDone: true)
        var members = body.memberList ?? []
        members += [
            JSONMember("done_reason", .string(finish == .length ? "length" : "stop")),
            JSONMember("total_duration", .integer((now - begun).nanoseconds)),
            JSONMember("load_duration", .integer((taken - begun).nanoseconds)),
            JSONMember("prompt_eval_count", .integer(promptTokens)),
            JSONMember("prompt_eval_duration", .integer((first - taken).nanoseconds)),
            JSONMember("eval_count", .integer(answerTokens)),
            JSONMember("eval_duration", .integer((now - first).nanoseconds)),
        ]
        if !sources.isEmpty { members.append(JSONMember("sources", .array(sources.map(\.json)))) }
        if let receipt { members.append(JSONMember("receipt", receipt.json)) }
        return .members(members)
    }

    /// To a request without a question.
    func empty(reason: String) -> JSONValue {
        .members(
            (line("", logProbabilities: [], isDone: true).memberList ?? [])
                + [JSONMember("done_reason", .string(reason))])
    }

    private func line(
        _ text: String, logProbabilities: [JSONValue], toolCalls: [JSONValue] = [], isDone: Bool
    ) -> JSONValue {
        var message = [JSONMember("role", .string("assistant")), JSONMember("content", .string(text))]
        if !toolCalls.isEmpty { message.append(JSONMember("tool_calls", .array(toolCalls))) }
        var members = [
            JSONMember("model", .string(model)), JSONMember("created_at", .string(Timestamp.now)),
            shape == .chat
                ? JSONMember("message", .members(message)) : JSONMember("response", .string(text)),
            JSONMember("done", .bool(isDone)),
        ]
        if !logProbabilities.isEmpty { members.append(JSONMember("logprobs", .array(logProbabilities))) }
        return .members(members)
    }

    private static func json(_ chosen: TokenCandidate, _ alternatives: [TokenCandidate]) -> JSONValue {
        .members(chosen.members + [JSONMember("top_logprobs", .array(alternatives.map { .members($0.members) }))])
    }
}

/// RFC 3339, in UTC.
enum Timestamp {
    static var now: String {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return text(seconds: Int64(time.tv_sec), nanoseconds: Int64(time.tv_nsec))
    }

    /// - Parameter seconds: since 1970-01-01 UTC; before that counts as then.
    static func text(seconds: Int64, nanoseconds: Int64 = 0) -> String {
        let seconds = min(max(0, seconds), 253_402_300_799)
        let (year, month, day) = date(days: seconds / 86_400)
        let rest = seconds % 86_400
        let whole =
            "\(padded(year, 4))-\(padded(month, 2))-\(padded(day, 2))"
            + "T\(padded(rest / 3_600, 2)):\(padded(rest / 60 % 60, 2)):\(padded(rest % 60, 2))"
        return nanoseconds > 0 ? "\(whole).\(padded(nanoseconds, 9))Z" : "\(whole)Z"
    }

    private static func padded(_ number: Int64, _ digits: Int) -> String {
        let text = "\(number)"
        return String(repeating: "0", count: max(0, digits - text.count)) + text
    }

    /// The proleptic Gregorian date so many days after 1970-01-01: eras of 400 years that begin on the first of March, so
    /// that the leap day is a year's last.
    private static func date(days: Int64) -> (year: Int64, month: Int64, day: Int64) {
        let shifted = days + 719_468
        let era = shifted / 146_097
        let dayOfEra = shifted % 146_097
        let yearOfEra = (dayOfEra - dayOfEra / 1_460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let monthFromMarch = (5 * dayOfYear + 2) / 153
        let day = dayOfYear - (153 * monthFromMarch + 2) / 5 + 1
        let month = monthFromMarch < 10 ? monthFromMarch + 3 : monthFromMarch - 9
        return (yearOfEra + era * 400 + (month <= 2 ? 1 : 0), month, day)
    }
}
