-- Health of an InferencePlan for Argo CD: key
-- resource.customizations.health.guide.dev_InferencePlan of ConfigMap argocd-cm.
local health = { status = "Progressing", message = "Waiting for the GUIDE operator." }
if obj.status == nil or obj.status.conditions == nil then
  return health
end
if obj.status.observedGeneration ~= obj.metadata.generation then
  health.message = "The newest generation is not answered yet."
  return health
end
local found = {}
for _, condition in ipairs(obj.status.conditions) do
  found[condition.type] = condition
end
local function is(kind)
  return found[kind] ~= nil and found[kind].status == "True"
end
if is("Stalled") then
  return { status = "Degraded", message = found["Stalled"].message }
end
if is("Reconciling") then
  return { status = "Progressing", message = found["Reconciling"].message }
end
if is("Ready") then
  return { status = "Healthy", message = found["Ready"].message }
end
return health
