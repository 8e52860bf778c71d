// The gateway and the engine both have requests, messages and reasons to finish, and the gateway's module has a class of its
// own name, so neither can be spelled out where both are seen. This file sees the gateway only.

package import Gateway

package typealias AnswerRequest = GenerationRequest
package typealias Answer = Generation
package typealias AnswerEvent = GenerationEvent
package typealias AnswerFinish = FinishReason
package typealias AnswerFault = NodeFault
package typealias AnswerMessage = ChatMessage
package typealias AnswerMerge = AdapterMerge
package typealias AnswerForm = AnswerFormat
package typealias AnswerTools = ToolSet
package typealias AnswerCall = ToolCall
