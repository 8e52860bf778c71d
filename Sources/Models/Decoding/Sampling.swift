// How a token is to be chosen: what a request says about temperature, sets, penalties, bias and seed, with the ranges
// that are taken. Protocol/decoding.md gives the order in which they act.

package enum SamplingLimit {
    package static let temperatureMax: Float = 100
    package static let biasesMax = 1024
    package static let biasMagnitudeMax: Float = 100
    package static let penaltyMagnitudeMax: Float = 2
    package static let repetitionPenaltyMax: Float = 10
}

/// Added to the logit of one token.
package struct TokenBias: Hashable, Sendable {
    package let token: Int32
    package let bias: Float

    package init(token: Int32, bias: Float) {
        self.token = token
        self.bias = bias
    }
}

package struct Sampling: Hashable, Sendable {
    /// Zero is greedy.
    package var temperature: Float
    /// Zero is no limit.
    package var topK: Int
    package var topP: Float
    /// Tokens less probable than this share of the most probable one are left out. Zero is no limit.
    package var minP: Float
    /// Taken once from the logit of every token that the answer holds already (OpenAI).
    package var presencePenalty: Float
    /// Taken once for each time that the answer holds the token (OpenAI).
    package var frequencyPenalty: Float
    /// Divides a positive logit and multiplies a negative one, for every token of prompt and answer (CTRL, 2019). One
    /// is none.
    package var repetitionPenalty: Float
    package var logitBias: [TokenBias]
    package var seed: UInt64
    /// Which of several answers to one prompt.
    package var choice: UInt32

    package init(
        temperature: Float = 0, topK: Int = 0, topP: Float = 1, minP: Float = 0, presencePenalty: Float = 0,
        frequencyPenalty: Float = 0, repetitionPenalty: Float = 1, logitBias: [TokenBias] = [], seed: UInt64 = 0,
        choice: UInt32 = 0
    ) {
        self.temperature = temperature
        self.topK = topK
        self.topP = topP
        self.minP = minP
        self.presencePenalty = presencePenalty
        self.frequencyPenalty = frequencyPenalty
        self.repetitionPenalty = repetitionPenalty
        self.logitBias = logitBias
        self.seed = seed
        self.choice = choice
    }

    package static let greedy = Sampling()

    /// Whether the tokens so far change what comes next: the sampler then wants a `TokenHistory`.
    package var readsHistory: Bool { presencePenalty != 0 || frequencyPenalty != 0 || repetitionPenalty != 1 }

    /// What a request asks that is not taken, by OpenAI's name of the parameter; nil where all is well.
    package func refusal(vocabulary: Int) -> (name: String, reason: String)? {
        func within(_ value: Float, _ range: ClosedRange<Float>) -> Bool { range.contains(value) }
        let penalty = SamplingLimit.penaltyMagnitudeMax, bias = SamplingLimit.biasMagnitudeMax
        guard within(temperature, 0...SamplingLimit.temperatureMax) else {
            return ("temperature", "must be between 0 and \(Int(SamplingLimit.temperatureMax))")
        }
        guard topK >= 0 else { return ("top_k", "must not be negative; 0 is no limit") }
        guard topP > 0, topP <= 1 else { return ("top_p", "must be above 0 and at most 1") }
        guard within(minP, 0...1) else { return ("min_p", "must be between 0 and 1") }
        for (name, value) in [("presence_penalty", presencePenalty), ("frequency_penalty", frequencyPenalty)] {
            guard within(value, -penalty...penalty) else {
                return (name, "must be between -\(Int(penalty)) and \(Int(penalty))")
            }
        }
        guard repetitionPenalty > 0, repetitionPenalty <= SamplingLimit.repetitionPenaltyMax else {
            return ("repetition_penalty", "must be above 0 and at most \(Int(SamplingLimit.repetitionPenaltyMax))")
        }
        guard logitBias.count <= SamplingLimit.biasesMax else {
            return ("logit_bias", "takes at most \(SamplingLimit.biasesMax) tokens")
        }
        for entry in logitBias {
            guard entry.token >= 0, Int(entry.token) < vocabulary else {
                return ("logit_bias", "names token \(entry.token); the vocabulary has \(vocabulary)")
            }
            guard within(entry.bias, -bias...bias) else {
                return ("logit_bias", "of token \(entry.token) must be between -\(Int(bias)) and \(Int(bias))")
            }
        }
        return nil
    }
}

/// What a sequence holds so far, each token once: what penalties need, and nothing that grows with repetition.
package struct TokenHistory: Hashable, Sendable {
    struct Entry: Hashable, Sendable {
        let token: Int32
        /// How often the answer holds it; zero where only the prompt does.
        var answered: Int32
    }

    private(set) var entries: [Entry] = []
    private var places: [Int32: Int] = [:]

    package init(prompt: some Sequence<Int32>) {
        for token in prompt { add(token, answered: 0) }
    }

    /// Takes a token of the answer.
    package mutating func append(_ token: Int32) { add(token, answered: 1) }

    private mutating func add(_ token: Int32, answered: Int32) {
        if let place = places[token] {
            entries[place].answered &+= answered
        } else {
            places[token] = entries.count
            entries.append(Entry(token: token, answered: answered))
        }
    }
}
