{{- /* A probe from the node itself. Call with path and root. */ -}}
{{- define "shunt.probe" -}}
httpGet:
  path: {{ .path }}
  port: {{ .root.Values.metrics.port }}
  {{- if not .root.Values.metrics.expose }}
  host: 127.0.0.1
  {{- end }}
{{- end -}}

{{- /* The same for every command: `kubectl exec ... -- shunt status` finds the agent and the pins. */ -}}
{{- define "shunt.env" -}}
- name: NODE_NAME
  valueFrom:
    fieldRef:
      fieldPath: spec.nodeName
- name: SHUNT_SOCKET
  value: {{ .Values.host.run }}/agent.sock
- name: SHUNT_BPFFS
  value: {{ .Values.host.bpffs }}
{{- end -}}

{{- /* Every path of the node stands at the same path inside, but those that the plugin and the meshes know otherwise. */ -}}
{{- define "shunt.mounts" -}}
- name: scratch
  mountPath: /run
- name: settings
  mountPath: /etc/shunt
  readOnly: true
- name: bpffs
  mountPath: {{ .Values.host.bpffs }}
# A pod's own view of cgroups holds nothing but itself.
- name: cgroup
  mountPath: /sys/fs/cgroup
  readOnly: true
  mountPropagation: HostToContainer
# Sandboxes that are made later appear here, too.
- name: netns
  mountPath: /run/netns
  mountPropagation: HostToContainer
- name: run
  mountPath: {{ .Values.host.run }}
{{- if .Values.cni.enabled }}
- name: cni-conf
  mountPath: /etc/cni/net.d
- name: cni-bin
  mountPath: /opt/cni/bin
{{- end }}
{{- if .Values.host.kubeletConfig }}
- name: kubelet-config
  mountPath: /var/lib/kubelet/config.yaml
  readOnly: true
{{- end }}
{{- end -}}
