// How likely an answer is after the prompt with some of its passages: one request of the engine for each set of them, which
// computes the answer's tokens and none of its own. Lives on the engine's thread, and ends once for whoever waits.

import Attribution
import Inference
import Primitives
import Synchronization
import Tokenizers

struct Scored: Sendable {
    /// As the answer's own was written.
    var prompt: WrittenPrompt
    /// That gave the answer.
    var model: LoadedModel
    /// Of `PassageEffect.sets` in their order; nil where there were none to score, or too many.
    var values: [Int64]?
}

final class Scoring: Sendable {
    private struct State: Sendable {
        var isOver = false
        var prompt: WrittenPrompt?
        var model: LoadedModel?
        /// nil: nothing is scored.
        var values: [Int64?]?
        var tokens = 0
    }

    let token = JobToken()
    private let plan: WeighingPlan
    private let tokensMax: Int
    private let done: @Sendable (Result<Scored, JobFault>) -> Void
    private let state = Mutex(State())

    init(_ plan: WeighingPlan, tokensMax: Int, done: @escaping @Sendable (Result<Scored, JobFault>) -> Void) {
        self.plan = plan
        self.tokensMax = tokensMax
        self.done = done
    }

    /// On the engine's thread.
    func start(_ model: LoadedModel) throws(JobFault) -> StartedJob {
        var written = try PromptWriter.write(
            plan.form, plan.found, model: model, answerTokensMax: plan.answerTokensMax)
        if let stood = plan.stood.map(Set.init) { written.passages.removeAll { !stood.contains($0.ordinal) } }
        let requests = try requests(written, model)
        let count = requests.reduce(0) { $0 + $1.prompt.count }
        state.withLock {
            $0.prompt = written
            $0.model = model
            $0.values = requests.isEmpty ? nil : Array(repeating: nil, count: requests.count)
            $0.tokens = count
        }
        let scored = scoredTokens
        return StartedJob(requests: requests, accepted: {}) { [self] event in
            guard case .output(let place, let output) = event, output.finish == .length,
                output.prompt.count > scored
            else { return }
            // In the order of the answer: a sum of floating-point numbers is that of its order.
            let sum = output.prompt.suffix(scored).reduce(0.0) { $0 + Double($1.logProbability ?? -.infinity) }
            state.withLock { $0.values?[place] = PassageEffect.value(sum) }
        }
    }

    private var scoredTokens: Int { min(plan.answer.count, EvidenceMethod.scoredTokensMax) }

    /// None where there is nothing to weigh, or it would take too long.
    private func requests(
        _ written: WrittenPrompt, _ model: LoadedModel
    ) throws(JobFault) -> [Inference.GenerationRequest] {
        guard tokensMax > 0, !written.passages.isEmpty, scoredTokens > 0 else { return [] }
        let answer = plan.answer.prefix(scoredTokens)
        var requests: [Inference.GenerationRequest] = []
        var count = 0
        for set in PassageEffect.sets(of: written.passages.count, seed: plan.seed) {
            let texts = written.passages.indices.filter { set >> UInt64($0) & 1 == 1 }.map { written.passages[$0].text }
            let prompt = try PromptWriter.tokens(plan.form, texts, model)
            count += prompt.count + answer.count
            guard count <= tokensMax else { return [] }
            var request = Inference.GenerationRequest(
                prompt: prompt + answer, adapter: plan.adapter, tokensMax: 0, logProbabilities: 0, scoresPrompt: true,
                fusion: plan.fusion, tenant: "weighing", priority: .background, cacheDomain: plan.cacheDomain,
                speculates: false)
            request.unscoredTokens = prompt.count
            requests.append(request)
        }
        return requests
    }

    func refuse(_ fault: JobFault) { if over() != nil { done(.failure(fault)) } }

    func end() {
        guard let state = over() else { return }
        guard let prompt = state.prompt, let model = state.model else {
            return done(.failure(JobFault(.unavailable, "engine", "the prompt was not written")))
        }
        let values = state.values.flatMap { values in
            values.contains(nil) ? nil : values.compactMap { $0 }
        }
        done(.success(Scored(prompt: prompt, model: model, values: values)))
    }

    /// - Returns: the tokens that there was no time for; nil where it had ended.
    func expire() -> Int? {
        guard let state = over() else { return nil }
        token.cancel()
        if let prompt = state.prompt, let model = state.model {
            done(.success(Scored(prompt: prompt, model: model, values: nil)))
        } else {
            done(.failure(JobFault(.unavailable, "expired", "the engine had no time to weigh the passages")))
        }
        return state.tokens
    }

    private func over() -> State? {
        state.withLock { state in
            guard !state.isOver else { return nil }
            state.isOver = true
            return state
        }
    }
}
