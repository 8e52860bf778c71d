// What a request may ask for. Everything that is refused is refused by name, before it takes a place.

import Decoding

extension GenerationRequest {
    func check(_ config: ModelConfig, _ limits: EngineLimits) throws(EngineFault) {
        let context = config.contextTokens
        guard !prompt.isEmpty else { throw .promptEmpty }
        guard prompt.count < context || (prompt.count == context && tokensMax == 0) else {
            throw .promptTooLong(tokens: prompt.count, contextTokens: context)
        }
        if let token = prompt.first(where: { $0 < 0 || Int($0) >= config.vocabulary }) {
            throw .tokenOutOfRange(token: token, vocabulary: config.vocabulary)
        }
        if let refusal = sampling.refusal(vocabulary: config.vocabulary) {
            throw .parameter(name: refusal.name, reason: refusal.reason)
        }
        guard tokensMin >= 0, tokensMin <= tokensMax else {
            throw .parameter(name: "min_tokens", reason: "must be between 0 and max_tokens")
        }
        guard tokensMax >= 0, tokensMax > 0 || scoresPrompt else {
            throw .parameter(name: "max_tokens", reason: "must be at least 1")
        }
        guard (0...limits.topLogProbabilitiesMax).contains(logProbabilities ?? 0) else {
            throw .parameter(name: "top_logprobs", reason: "must be between 0 and \(limits.topLogProbabilitiesMax)")
        }
        guard stop.count <= limits.stopStringsMax, stop.allSatisfy({ $0.utf8.count <= limits.stopStringBytesMax })
        else {
            throw .parameter(
                name: "stop",
                reason: "takes at most \(limits.stopStringsMax) strings of \(limits.stopStringBytesMax) bytes")
        }
        if let fusion {
            guard adapter == nil else {
                throw .parameter(name: "merged_adapters", reason: "cannot be combined with an adapter")
            }
            try fusion.check(partsMax: limits.fusedMax)
        }
    }
}
