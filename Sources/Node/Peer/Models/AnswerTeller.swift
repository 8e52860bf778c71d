// A local answer as the HTTP door hears it: the prompt where it was asked for, tokens with their candidates, an end for
// each choice, the count. Lives on the engine's thread.

import Decoding
import Gateway
import Inference
import Primitives
import Tokenizers

final class AnswerTeller {
    /// From the passages that stood in the prompt and an answer to its sources.
    typealias Weigh = @Sendable ([UInt64], [Int32], @escaping @Sendable ([AnswerSource]) -> Void) -> Void

    private let request: AnswerRequest
    private let prompt: [Int32]
    private let tokenizer: Tokenizer?
    private let events: AsyncThrowingStream<AnswerEvent, any Error>.Continuation
    private var echoed: Set<Int> = []
    private var open: Int
    private var answerTokens = 0
    private let stood: [UInt64]
    /// Where rows were drawn on: several answers to one question have one list of sources, the first one's.
    private let weigh: Weigh?
    private var first: [Int32] = []
    /// Of each choice, where tools are offered.
    private var tools: [ToolTelling]

    init(
        _ request: AnswerRequest, prompt: [Int32], stood: [UInt64], tokenizer: Tokenizer?, toolForm: ToolForm?,
        _ weigh: Weigh?, _ events: AsyncThrowingStream<AnswerEvent, any Error>.Continuation
    ) {
        self.request = request
        self.prompt = prompt
        self.stood = stood
        self.weigh = weigh
        self.tokenizer = tokenizer
        self.events = events
        open = request.choices
        if let offered = request.tools, let toolForm {
            tools = (0..<request.choices).map { _ in ToolTelling(offered, form: toolForm) }
        } else {
            tools = []
        }
    }

    func tell(_ event: JobEvent) {
        switch event {
        case .output(let choice, let output): tell(choice, output)
        case .cancelled: events.finish()
        case .failed(let fault): events.finish(throwing: fault.answerFault)
        }
    }

    private func tell(_ choice: Int, _ output: SequenceOutput) {
        if request.echo, echoed.insert(choice).inserted { echo(choice, output.prompt) }
        if let token = output.token {
            answerTokens += 1
            if choice == 0, weigh != nil { first.append(token.id) }
            let (text, calls) = shown(output, token, choice)
            events.yield(
                .token(
                    TokenEvent(
                        choice: choice, id: UInt32(bitPattern: token.id), text: text, chosen: chosen(token),
                        alternatives: alternatives(token))))
            for call in calls { events.yield(.toolCall(choice: choice, call)) }
        }
        guard let finish = output.finish else { return }
        let hasCalled = tools.indices.contains(choice) && tools[choice].calls > 0
        events.yield(.finished(choice: choice, finish == .length ? .length : hasCalled ? .toolCalls : .stop))
        open -= 1
        guard open == 0 else { return }
        let usage = AnswerEvent.usage(promptTokens: prompt.count, completionTokens: answerTokens)
        let events = events
        let end: @Sendable ([AnswerSource]) -> Void = { sources in
            if !sources.isEmpty { events.yield(.sources(sources)) }
            events.yield(usage)
            events.finish()
        }
        if let weigh, !first.isEmpty { weigh(stood, first, end) } else { end([]) }
    }

    /// The text without what is a call; with the last token comes all that was held.
    private func shown(
        _ output: SequenceOutput, _ token: GeneratedToken, _ choice: Int
    ) -> (text: String, calls: [AnswerCall]) {
        guard tools.indices.contains(choice) else { return (output.text, []) }
        var shown = tools[choice].add(output.text, token.id, tokenizer)
        if output.finish != nil {
            let rest = tools[choice].finish()
            shown.text += rest.text
            shown.calls += rest.calls
        }
        return shown
    }

    private func echo(_ choice: Int, _ scored: [GeneratedToken]) {
        var decoder = tokenizer.map { StreamingDecoder($0, skipSpecial: false) }
        for (index, id) in prompt.enumerated() {
            var text = decoder?.add(id) ?? ""
            if index == prompt.count - 1 { text += decoder?.finish() ?? "" }
            let score = scored.indices.contains(index) ? scored[index] : nil
            events.yield(
                .token(
                    TokenEvent(
                        choice: choice, id: UInt32(bitPattern: id), text: text, isPrompt: true,
                        chosen: score.flatMap(chosen), alternatives: score.map(alternatives) ?? [])))
        }
    }

    private func chosen(_ token: GeneratedToken) -> TokenCandidate? {
        guard request.logProbabilities != nil, let value = token.logProbability else { return nil }
        return candidate(token.id, value)
    }

    private func alternatives(_ token: GeneratedToken) -> [TokenCandidate] {
        guard request.logProbabilities != nil else { return [] }
        return token.alternatives.map { candidate($0.token, $0.logProbability) }
    }

    private func candidate(_ id: Int32, _ logProbability: Float) -> TokenCandidate {
        let text = tokenizer?.decode([id], skipSpecial: false) ?? ""
        return TokenCandidate(
            id: UInt32(bitPattern: id), text: text, bytes: Array(text.utf8), logProbability: Double(logProbability))
    }
}

extension JobFault {
    var answerFault: AnswerFault {
        let kind: AnswerFault.Kind =
            switch self.kind {
            case .invalid: .invalid
            case .missing: .missing
            case .busy: .busy
            case .unsupported: .unsupported
            case .broken: .broken
            case .unavailable: .unavailable
            }
        return AnswerFault(
            kind, message, param: parameter, code: code,
            retryAfterSeconds: retryAfterSeconds ?? (kind == .busy ? 1 : nil))
    }
}
